"""Suites: what they would make, what they reuse, how they end, and the table that comes of it."""

from typing import Any

import pytest

from pace_core.spec import RESULTS_VERSION, load_published
from tests.service.api import CPU, Api, result

SUITE: dict[str, Any] = {
    "name": "does it help",
    "benchmark": "vtab-mini",
    "tasks": ["digits", "textures"],
    "rows": ["LoRA_mul+VPT_add", "PACE"],
    "seeds": [0, 1],
}


def current(accuracy: float, data: str = "data-1") -> dict[str, Any]:
    """A result of this version of the core."""
    said = result(accuracy, data=data)
    said["provenance"]["results_version"] = RESULTS_VERSION
    return said


async def submitted(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/suites", json=SUITE | more)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def planned(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/suites?validate_only=true", json=SUITE | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def act(api: Api, suite: str, verb: str, **body: Any) -> dict[str, Any]:
    answer = await api.call("POST", f"/v1/suites/{suite}/{verb}", json=body or None)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


async def jobs_of(api: Api, suite: str) -> list[dict[str, Any]]:
    return (await api.get(f"/v1/jobs?suite={suite}&limit=200"))["data"]


async def end_all(api: Api, how: dict[str, float | str] | float = 0.5) -> list[str]:
    """Runs every waiting job: by row, to that accuracy or for that reason; the jobs in the order in which they ran."""
    ran: list[str] = []
    while leases := (await api.lease())["leases"]:
        for lease in leases:
            job = await api.job(lease["job"])
            outcome = how[job["row"]] if isinstance(how, dict) else how
            ended = ("succeeded", current(outcome)) if isinstance(outcome, float) else (outcome, None)
            await api.end(lease["job"], lease["attempt"], ended[0], result=ended[1])
            ran.append(lease["job"])
    return ran


async def table(api: Api, suite: str) -> dict[str, Any]:
    found = await api.get(f"/v1/suites/{suite}/table")
    found["rows"] = {row["label"]: row for row in found["rows"] if row["kind"] == "measured"}
    return found


async def test_a_plan_names_every_run_and_stores_nothing(api: Api) -> None:
    plan = await planned(api)
    assert (plan["new"], plan["reused"], plan["refused"], len(plan["runs"])) == (8, 0, 0, 8)
    assert [run["seed"] for run in plan["runs"]] == [0, 0, 0, 0, 1, 1, 1, 1]  # the whole table first, then its spread
    assert plan["rows"] == ["LoRA_mul+VPT_add", "PACE"]
    assert plan["slot_minutes"] > 0
    assert plan["measured"] == 0
    assert "none has connected yet" in plan["waiting_for"]
    assert (await api.get("/v1/suites"))["data"] == []
    assert (await api.get("/v1/jobs"))["data"] == []


async def test_a_suite_runs_in_its_order_to_its_table(api: Api) -> None:
    suite = await submitted(api)
    assert (suite["state"], suite["counts"]) == ("queued", {"queued": 8})
    jobs = await jobs_of(api, suite["id"])
    assert {job["suite"] for job in jobs} == {suite["id"]}
    ran = await end_all(api, {"LoRA_mul+VPT_add": 0.5, "PACE": 0.7})
    assert ran == sorted(job["id"] for job in jobs)
    ended = await api.get(f"/v1/suites/{suite['id']}")
    assert (ended["state"], ended["counts"]) == ("succeeded", {"succeeded": 8})
    assert ended["ended_at"]
    found = await table(api, suite["id"])
    cell = found["rows"]["PACE"]["cells"]["digits"]
    assert (cell["mean"], cell["runs"], cell["seeds"], cell["std"]) == (pytest.approx(0.7), 2, [0, 1], 0.0)
    assert [task["name"] for task in found["tasks"]] == ["digits", "textures"]
    assert found["rows"]["PACE"]["groups"]["natural"]["complete"]


async def test_a_row_is_set_beside_its_method_without_a_regularizer(api: Api) -> None:
    suite = await submitted(api)
    accuracies = {("LoRA_mul+VPT_add", 0): 0.50, ("LoRA_mul+VPT_add", 1): 0.60, ("PACE", 0): 0.53, ("PACE", 1): 0.65}
    while leases := (await api.lease())["leases"]:
        job = await api.job(leases[0]["job"])
        accuracy = accuracies[job["row"], job["seed"]] + (0.1 if job["task"] == "textures" else 0.0)
        await api.end(job["id"], 1, "succeeded", result=current(accuracy))
    found = (await table(api, suite["id"]))["differences"]
    by_place = {(each["task"], each["over"]): each for each in found}
    digits = by_place["digits", "seeds"]
    assert (digits["row"], digits["versus"], digits["kind"], digits["pairs"]) == (
        "PACE",
        "LoRA_mul+VPT_add",
        "without",
        2,
    )
    assert digits["mean"] == pytest.approx(0.04)
    # two pairs 0.03 and 0.05: t(1) = 12.706, standard error 0.01, p = 1 - (2/π) atan(4)
    assert digits["low"] == pytest.approx(0.04 - 0.12706, abs=1e-4)
    assert digits["p"] == pytest.approx(0.15596, abs=1e-4)
    assert by_place[None, "tasks"]["mean"] == pytest.approx(0.04)
    assert by_place[None, "seeds"]["pairs"] == 2


async def test_what_is_done_is_reused_and_what_waits_is_shared(api: Api) -> None:
    first = await submitted(api, seeds=[0])
    await end_all(api)
    second = await submitted(api, seeds=[0, 1])
    assert (second["reused"], second["counts"]) == (4, {"succeeded": 4, "queued": 4})
    third = await submitted(api, seeds=[0, 1])
    assert third["reused"] == 8
    assert {job["suite"] for job in await jobs_of(api, third["id"])} == {first["id"], second["id"]}
    plan = await planned(api, seeds=[0, 1, 2])
    assert (plan["new"], plan["reused"], plan["shared"]) == (4, 4, 4)
    assert (await planned(api, reuse=False))["new"] == 8


@pytest.mark.parametrize("changed", [{"overrides": {"optimizer": {"lr": 0.1}}}, {"seeds": [5, 6]}, {"phase": "search"}])
async def test_what_was_run_otherwise_is_run_again(api: Api, changed: dict[str, Any]) -> None:
    await submitted(api)
    await end_all(api)
    assert (await planned(api, **changed))["new"] == 8


async def test_results_of_other_data_or_of_an_older_core_are_run_again(api: Api) -> None:
    await submitted(api, tasks=["digits"], rows=["Linear"], seeds=[0])
    job, attempt = await api.take()
    await api.end(job, attempt, "succeeded", result=current(0.5, data="data-1"))
    assert (await planned(api, tasks=["digits"], rows=["Linear"], seeds=[0]))["reused"] == 1
    newer = await api.submit(spec=None, recipe={"name": "vtab-mini", "row": "Linear", "task": "digits"}, seed=9)
    await api.end(*await api.take(), "succeeded", result=current(0.5, data="data-2"))
    assert (await planned(api, tasks=["digits"], rows=["Linear"], seeds=[0, 9]))["reused"] == 1
    old = "UPDATE jobs SET result = jsonb_set(result, '{provenance,results_version}', '1') WHERE id = %s"
    await api.sql(old, newer)
    assert (await planned(api, tasks=["digits"], rows=["Linear"], seeds=[9]))["new"] == 1


async def test_time_is_told_from_runs_like_it(api: Api) -> None:
    await submitted(api, tasks=["digits"], rows=["Linear"], seeds=[0])
    await end_all(api)  # which took two seconds, of three epochs
    plan = await planned(
        api, tasks=["digits", "cells"], rows=["Linear"], seeds=[1], overrides={"training": {"epochs": 6}}
    )
    assert [run["seconds"] for run in plan["runs"]] == [pytest.approx(4.0)] * 2
    assert plan["measured"] == 2
    assert plan["slot_minutes"] == pytest.approx(8 / 60)
    assert (plan["slots"], plan["minutes"]) == (1, pytest.approx(8 / 60))


async def test_what_cannot_be_is_refused_with_its_reason_and_stands_in_the_table(api: Api) -> None:
    rows = ["Linear", {"label": "noisy probe", "spec": {"method": {"name": "linear"}, "regularizer": {"name": "pace"}}}]
    suite = await submitted(api, rows=rows, seeds=[0])
    assert suite["counts"] == {"queued": 2, "refused": 2}
    await end_all(api)
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "succeeded"
    cell = (await table(api, suite["id"]))["rows"]["noisy probe"]["cells"]["digits"]
    assert cell["status"] == "refused"
    assert "refused: regularizer" in cell["notes"][0]


async def test_a_failed_cell_says_why(api: Api) -> None:
    suite = await submitted(api, seeds=[0])
    await end_all(api, {"LoRA_mul+VPT_add": 0.5, "PACE": "nan"})
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "failed"
    cell = (await table(api, suite["id"]))["rows"]["PACE"]["cells"]["digits"]
    assert cell["status"] == "failed"
    assert cell["notes"] == ["nan: The loss stopped being a finite number. Lower optimizer.lr or regularizer.lambda."]
    for form in ("csv", "md", "latex", "svg"):
        text = (await api.call("GET", f"/v1/suites/{suite['id']}/table?format={form}")).text
        assert "failed" in text, form


async def test_retry_runs_again_what_did_not_succeed_and_nothing_else(api: Api) -> None:
    suite = await submitted(api, seeds=[0])
    await end_all(api, {"LoRA_mul+VPT_add": 0.5, "PACE": "nan"})
    again = await act(api, suite["id"], "retry")
    assert again["counts"] == {"succeeded": 2, "queued": 2}
    assert (await act(api, suite["id"], "retry"))["counts"] == again["counts"]  # asked twice, done once
    await end_all(api, 0.6)
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "succeeded"
    assert {job["retry_of"] is not None for job in await jobs_of(api, suite["id"]) if job["row"] == "PACE"} == {True}


async def test_a_job_that_is_retried_alone_counts_in_its_suite(api: Api) -> None:
    suite = await submitted(api, tasks=["digits"], rows=["Linear"], seeds=[0])
    job, attempt = await api.take()
    await api.end(job, attempt, "nan")
    await api.act(job, "retry")
    await end_all(api)
    assert (await api.get(f"/v1/suites/{suite['id']}"))["state"] == "succeeded"


async def test_a_suite_is_extended_by_what_it_lacks(api: Api) -> None:
    suite = await submitted(api, seeds=[0])
    ran = await end_all(api)
    more = await act(api, suite["id"], "extend", seeds=[0, 1], tasks=["cells"], rows=["Linear"])
    assert (more["runs"], more["counts"]) == (18, {"succeeded": 4, "queued": 14})
    assert not set(ran) & set(await end_all(api))
    assert set((await table(api, suite["id"]))["rows"]) >= {"LoRA_mul+VPT_add", "PACE", "Linear"}
    assert (await act(api, suite["id"], "extend", seeds=[1]))["counts"] == {"succeeded": 18}


async def test_cancel_ends_what_the_suite_submitted_and_nothing_else(api: Api) -> None:
    theirs = await submitted(api, rows=["PACE"], seeds=[0])
    ours = await submitted(api, seeds=[0])
    running, attempt = await api.take()
    said = await act(api, ours["id"], "cancel")
    assert said["counts"] == {"starting": 1, "queued": 1, "cancelled": 2}  # the first suite's two are its own
    assert (await act(api, theirs["id"], "cancel"))["cancel_requested"]
    assert (await api.report(running, attempt))["directive"] == "stop"
    await api.end(running, attempt, "cancelled")
    assert (await api.get(f"/v1/suites/{ours['id']}"))["state"] == "cancelled"


async def test_so_many_run_at_a_time_and_no_more(api: Api) -> None:
    slots = [CPU | {"name": f"cpu-{index}"} for index in range(4)]
    suite = await submitted(api, max_parallel=2)
    first = (await api.lease(slots))["leases"]
    assert len(first) == 2
    assert (await api.lease(slots[2:], all_slots=slots))["leases"] == []
    await api.end(first[0]["job"], 1, "succeeded", result=current(0.5))
    assert len((await api.lease([slots[0], *slots[2:]], all_slots=slots))["leases"]) == 1
    waiting = next(job for job in await jobs_of(api, suite["id"]) if job["state"] == "queued")
    assert waiting["waiting_for"] == "its suite, which has 2 running, the most it may have"
    other = await api.submit()  # which no suite holds back
    assert [lease["job"] for lease in (await api.lease(slots[2:], all_slots=slots))["leases"]] == [other]


async def test_a_suite_stops_after_equal_failures_in_a_row(api: Api) -> None:
    suite = await submitted(api, stop_after=3)
    assert len(await end_all(api, {"LoRA_mul+VPT_add": "data_missing", "PACE": "data_missing"})) == 3
    stopped = await api.get(f"/v1/suites/{suite['id']}")
    assert (stopped["state"], stopped["counts"]) == ("failed", {"failed": 3, "cancelled": 5})
    assert stopped["stopped"].startswith("3 jobs in a row failed alike (data_missing: ")
    await act(api, suite["id"], "retry")
    assert len(await end_all(api)) == 8
    assert (await api.get(f"/v1/suites/{suite['id']}"))["stopped"] is None


async def test_failures_for_several_reasons_stop_nothing(api: Api) -> None:
    suite = await submitted(api, stop_after=2)
    await end_all(api, {"LoRA_mul+VPT_add": "nan", "PACE": "data_missing"})
    found = await api.get(f"/v1/suites/{suite['id']}")
    assert found["stopped"] is None or "2 jobs" in found["stopped"]
    assert found["counts"].keys() <= {"failed", "cancelled"}


@pytest.mark.parametrize(
    ("wrong", "pointer", "says"),
    [
        ({"benchmark": "vtab-min"}, "/benchmark", "did you mean 'vtab-mini'"),
        ({"tasks": ["digits", "digitz"]}, "/tasks/1", "did you mean 'digits'"),
        ({"rows": ["PACE", "PEACE"]}, "/rows/1", "did you mean 'PACE'"),
        ({"rows": [{}]}, "/rows/0", "has settings"),
        ({"rows": []}, "/rows", "at least 1 item"),
        ({"seeds": []}, "/seeds", "at least 1 item"),
        ({"seeds": [True]}, "/seeds/0", "integer"),
        ({"rows": ["PACE", {"row": "PACE", "spec": {"optimizer": {"lr": 0.1}}}]}, "/rows/1", "label"),
        ({"overrides": {"optimiser": {}}}, "/optimiser", "did you mean 'optimizer'"),
        ({"recipe": "vtab-1k"}, "/recipe", "has no recipe"),
        ({"seeds": list(range(1000)), "tasks": [], "rows": ["PACE", "Linear"]}, "/rows", "at most 10,000 runs"),
        ({"benchmark": None, "tasks": [{"name": "x\u0000"}]}, "", ""),
        ({"benchmark": None, "tasks": []}, "/benchmark", "name a benchmark"),
        ({"priority": 101}, "/priority", "less than or equal to 100"),
    ],
)
async def test_a_fault_is_told_with_its_place(api: Api, wrong: dict[str, Any], pointer: str, says: str) -> None:
    answer = await api.call("POST", "/v1/suites", json=SUITE | wrong)
    assert answer.status_code == 422, answer.text
    faults = answer.json()["errors"]
    assert any(fault["pointer"].startswith(pointer) and says in fault["message"] for fault in faults), answer.text
    assert (await api.get("/v1/jobs"))["data"] == []


async def test_a_hostile_name_is_a_name(api: Api) -> None:
    label = "</title><script>alert(1)</script> | $x_1$ \\input{a} =1+1 \u202e ü"
    spec = {"method": {"name": "linear"}}
    suite = await submitted(api, name=label, rows=[{"label": label, "spec": spec}], tasks=["digits"], seeds=[0])
    await end_all(api)
    said = {
        form: (await api.call("GET", f"/v1/suites/{suite['id']}/table?format={form}")).text
        for form in ("md", "latex", "svg")
    }
    assert "<script" not in said["svg"]
    assert "<script" not in said["md"]
    assert r"\textbackslash{}input\{a\}" in said["latex"]
    assert all("\u202e" not in text for text in said.values())


async def test_tasks_of_one_s_own_make_a_suite(api: Api) -> None:
    tasks = [{"name": name, "source": "image_folder", "path": f"/data/{name}"} for name in ("cats", "dogs")]
    rows = [{"spec": {"method": {"name": "lora_add"}}}, {"spec": {"method": {"name": "linear"}}}]
    suite = await submitted(api, benchmark=None, tasks=tasks, rows=rows, seeds=[0])
    assert suite["rows"] == ["lora_add", "linear"]
    await end_all(api)
    found = await table(api, suite["id"])
    assert found["rows"]["linear"]["cells"]["dogs"]["mean"] == 0.5
    assert found["rows"]["linear"]["mean"]["complete"]
    assert (await submitted(api, benchmark=None, tasks=tasks, rows=rows, seeds=[0]))["reused"] == 4


async def test_an_override_cannot_move_a_row_to_another_task(api: Api) -> None:
    suite = await submitted(api, overrides={"task": {"name": "vtab-mini/cells"}}, seeds=[0])
    assert {job["task"] for job in await jobs_of(api, suite["id"])} == {"digits", "textures"}


async def test_the_same_request_sent_twice_makes_one_suite(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, second = [await api.call("POST", "/v1/suites", json=SUITE, headers=headers) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len((await api.get("/v1/suites"))["data"]) == 1


async def test_there_is_no_room_for_half_a_suite(api: Api) -> None:
    await api.sql("UPDATE projects SET max_queued = 7")
    answer = await api.call("POST", "/v1/suites", json=SUITE)
    assert answer.status_code == 429
    assert "these would be 8 more" in answer.json()["detail"]
    assert (await api.get("/v1/jobs"))["data"] == []
    assert (await api.get("/v1/suites"))["data"] == []


async def test_a_suite_is_seen_by_its_project_alone(api: Api) -> None:
    suite = await submitted(api)
    await api.call("POST", "/v1/projects", json={"name": "other"})
    made = await api.call("POST", "/v1/keys", json={"name": "eve", "role": "user", "project": "other"})
    key = made.json()["secret"]
    for method, path in (("GET", ""), ("GET", "/table"), ("POST", "/cancel"), ("POST", "/retry"), ("POST", "/extend")):
        answer = await api.call(
            method, f"/v1/suites/{suite['id']}{path}", key=key, json={} if method == "POST" else None
        )
        assert answer.status_code == 404, path
    assert (await api.get("/v1/suites", key=key))["data"] == []
    assert (await api.call("POST", "/v1/suites", json=SUITE, key=api.keys.reader)).status_code == 403


async def test_a_deleted_job_leaves_a_place_that_retry_fills(api: Api) -> None:
    suite = await submitted(api, tasks=["digits"], rows=["Linear"], seeds=[0])
    (job,) = await end_all(api)
    await api.call("DELETE", f"/v1/jobs/{job}")
    found = await api.get(f"/v1/suites/{suite['id']}")
    assert (found["state"], found["counts"]) == ("failed", {"deleted": 1})
    assert (await table(api, suite["id"]))["rows"]["Linear"]["cells"]["digits"]["notes"] == ["its job was deleted"]
    assert (await act(api, suite["id"], "retry"))["counts"] == {"queued": 1}


async def test_suites_are_listed_in_pages(api: Api) -> None:
    made = [(await submitted(api, name=f"suite {index}"))["id"] for index in range(3)]
    page = await api.get("/v1/suites?limit=2")
    assert [suite["id"] for suite in page["data"]] == made[:0:-1]
    rest = await api.get(f"/v1/suites?limit=2&after={page['next_cursor']}")
    assert [suite["id"] for suite in rest["data"]] == made[:1]
    shared = (await jobs_of(api, made[0]))[0]["id"]
    assert len((await api.get(f"/v1/suites?job={shared}"))["data"]) == 3
    assert (await api.call("GET", "/v1/suites?after=nonsense")).status_code == 422


async def test_a_published_row_stands_beside_ours(api: Api) -> None:
    printed = next(row for row in load_published()["vtab-1k"].rows if row.label == "PACE").values
    spec = {"method": {"name": "lora_add"}, "regularizer": {"name": "pace"}}
    suite = await submitted(
        api,
        benchmark="vtab-1k",
        tasks=["cifar", "dtd"],
        rows=[{"label": "PACE", "spec": spec}],
        backbones=["pace_vit_mini"],
        overrides={"task": {"path": "/data/vtab-1k"}},
    )
    await end_all(api, printed["cifar"] / 100)
    found = await table(api, suite["id"])
    published = {each["task"]: each for each in found["differences"] if each["kind"] == "published"}
    assert published["cifar"]["mean"] == pytest.approx(0.0, abs=1e-9)
    assert published["dtd"]["mean"] == pytest.approx((printed["cifar"] - printed["dtd"]) / 100)
    assert published[None]["pairs"] == 2
