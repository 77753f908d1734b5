"""The list of jobs, a job, and jobs side by side, over a scripted worker."""

import re
from typing import Any

import pytest

from tests.dashboards.conftest import Visitor
from tests.dashboards.test_overview import EVIL, text_of
from tests.service.api import SPEC, Api, log, result


def named(page: str) -> list[str]:
    """The jobs of a list, from the top."""
    return re.findall(r'name="job" value="(job_\w+)"', page)


def metrics(epoch: int, **values: float) -> tuple[str, dict[str, Any]]:
    return "metrics", {
        "epoch": epoch,
        "step": 10 * epoch,
        "values": {k.replace("_", "/", 1): v for k, v in values.items()},
    }


async def finished(api: Api, accuracy: float, **request: Any) -> str:
    await api.submit(**request)
    return await api.finish(accuracy)


async def test_the_list_is_narrowed_ordered_and_paged_by_its_address(member: Visitor, api: Api) -> None:
    low, high = await finished(api, 0.25, name="first"), await finished(api, 0.75, name="second")
    waits = await api.submit(name="third", row="Mine")
    assert named((await member.get("/jobs")).text) == [waits, high, low]
    assert named((await member.get("/jobs?sort=best")).text) == [high, low]
    assert named((await member.get("/jobs?state=queued")).text) == [waits]
    assert named((await member.get("/jobs?search=sec")).text) == [high]
    assert named((await member.get("/jobs?row=Mine&state=&task=")).text) == [waits]
    assert "No jobs like that." in (await member.get("/jobs?owner=nobody")).text
    for seed in range(60):
        await api.submit(seed=seed)
    page = (await member.get("/jobs?state=queued")).text
    assert len(named(page)) == 50
    assert "61 queued" in text_of(page)
    following = re.search(r'href="([^"]+)" rel="next"', page)[1].replace("&amp;", "&")
    assert named((await member.get(following)).text)[-1] == waits
    assert len(named((await member.get(following)).text)) == 11


NOWHERE = (
    *("/jobs?after=x", "/jobs?state=odd", "/jobs?since=yesterday", "/jobs?sort=worst", f"/jobs?search={'x' * 300}"),
    *("/jobs/job_nowhere", "/jobs/%00", "/jobs/..%2f..", "/jobs/x%3Fwait=60", "/jobs/%2e%2e", "/jobs/totals"),
    *("/compare?job=job_nowhere", "/leaderboards/nowhere", "/leaderboards/%3Cscript%3E", "/leaderboards/%00"),
)


@pytest.mark.parametrize("address", NOWHERE)
async def test_an_address_that_leads_nowhere_is_told_so(member: Visitor, address: str) -> None:
    answer = await member.get(address)
    assert answer.status_code in (404, 422)
    assert "<h1>" in answer.text
    assert "<script>" not in answer.text


async def test_htmx_gets_the_list_alone(member: Visitor, api: Api) -> None:
    job = await api.submit()
    part = (await member.get("/jobs", **{"HX-Request": "true"})).text
    assert named(part) == [job]
    assert "<html" not in part


async def test_many_are_cancelled_at_once_and_refusals_are_told(member: Visitor, api: Api) -> None:
    ended = await finished(api, 0.5)
    waits = [await api.submit(seed=seed) for seed in range(2)]
    page = await member.post(
        "/jobs?state=queued", {"csrf": await member.token(), "verb": "cancel", "job": [*waits, ended]}
    )
    assert "2 of 3: cancel done." in text_of(page.text)
    assert "the job has ended already (succeeded)" in page.text
    assert [(await api.job(job))["state"] for job in waits] == ["cancelled"] * 2


@pytest.mark.parametrize(
    "fields", [{}, {"verb": "explode", "job": "x"}, {"verb": "cancel"}, {"verb": "cancel", "job": "\x00"}]
)
async def test_what_is_no_action_changes_nothing(member: Visitor, api: Api, fields: dict[str, str]) -> None:
    job = await api.submit()
    answer = await member.post("/jobs", {"csrf": await member.token(), **fields})
    assert answer.status_code in (200, 422)
    assert (await api.job(job))["state"] == "queued"


async def test_a_reader_finds_no_buttons(visitor: Visitor, api: Api) -> None:
    job = await api.submit()
    await visitor.sign_in(api.keys.reader)
    for path in ("/jobs", f"/jobs/{job}"):
        page = (await visitor.get(path)).text
        assert 'value="cancel"' not in page
        assert job in page
    token = await visitor.token()
    assert (await visitor.post(f"/jobs/{job}", {"csrf": token, "verb": "cancel"})).status_code == 403


async def test_a_job_shows_its_curves_over_earlier_runs_and_what_differs_from_its_recipe(
    member: Visitor, api: Api
) -> None:
    recipe = {"name": "vtab-mini", "row": "PACE", "task": "digits"}
    answer = await api.call("POST", "/v1/jobs", json={"recipe": recipe, "seed": 1})
    first = answer.json()["id"]
    job, attempt = await api.take()
    await api.report(job, attempt, metrics(1, train_loss=2.0, test_accuracy=0.25))
    await api.end(job, attempt, "succeeded", result=result(0.25))
    changed = {"recipe": recipe, "seed": 2, "overrides": {"optimizer": {"lr": 0.0123}}}
    second = (await api.call("POST", "/v1/jobs", json=changed)).json()["id"]
    await api.take()
    await api.report(second, 1, log("half way <b>there</b>"), metrics(1, train_loss=1.5, test_accuracy=0.5))
    page = (await member.get(f"/jobs/{second}")).text
    assert '"y":[1.5]' in page
    assert f'"name":"{first}"' in page, "the earlier run, in grey"
    assert '"y":[50.0]' in page
    assert "optimizer.lr" in page.partition("Other than its recipe")[2]
    assert "<ins>0.0123</ins>" in page
    assert "half way &lt;b&gt;there&lt;/b&gt;" in page
    assert f"/new?from={second}" in page
    assert "As its recipe says." in (await member.get(f"/jobs/{first}")).text


async def test_a_job_that_failed_says_why_and_is_run_again_by_a_button(member: Visitor, api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.end(job, 1, "nan", message="the loss became NaN at step 80")
    assert "the loss became NaN at step 80" in (await member.get(f"/jobs/{job}")).text
    answer = await member.post(f"/jobs/{job}", {"csrf": await member.token(), "verb": "retry"})
    again = answer.headers["location"].removeprefix("/jobs/")
    assert (await api.job(again))["retry_of"] == job
    assert (await member.post(f"/jobs/{job}", {"csrf": await member.token(), "verb": "delete"})).headers[
        "location"
    ] == "/jobs"
    assert (await member.get(f"/jobs/{job}")).status_code == 404


async def test_a_refusal_is_a_page_with_the_services_words(member: Visitor, api: Api) -> None:
    job = await finished(api, 0.5)
    answer = await member.post(f"/jobs/{job}", {"csrf": await member.token(), "verb": "cancel"})
    assert answer.status_code == 409
    assert "the job has ended already (succeeded)" in text_of(answer.text)


async def test_files_of_a_job_are_downloaded_as_they_are(member: Visitor, api: Api) -> None:
    job = await api.submit()
    await api.take()
    adapter = api.storage / "jobs" / job / "1" / "adapter.safetensors"
    adapter.parent.mkdir(parents=True)
    adapter.write_bytes(b"\x00\x01 weights" * 1000)
    await api.end(job, 1, "succeeded", result=result(0.5, uri=str(adapter)))
    page = (await member.get(f"/jobs/{job}")).text
    assert f"/jobs/{job}/files/1/adapter.safetensors" in page
    for path in (f"/jobs/{job}/adapter", f"/jobs/{job}/files/1/adapter.safetensors"):
        answer = await member.get(path)
        assert answer.content == adapter.read_bytes()
        assert answer.headers["content-disposition"].startswith("attachment")
    for path in ("1/nothing", "..%2f..%2f..%2fetc%2fpasswd", "1/../../../x"):
        assert (await member.get(f"/jobs/{job}/files/{path}")).status_code in (404, 422)


async def test_jobs_stand_side_by_side_with_what_differs(member: Visitor, api: Api) -> None:
    jobs = [await finished(api, 0.5), await finished(api, 0.6, spec={**SPEC, "optimizer": {"lr": 0.0321}})]
    page = (await member.get(f"/compare?job={jobs[0]}&job={jobs[1]}")).text
    assert "optimizer.lr" in page
    assert "<ins>0.0321</ins>" in page
    assert "method.rank" not in page, "it is the same"
    assert "60.00" in page
    assert "Choose two jobs" in (await member.get("/compare")).text


async def test_names_are_text_on_every_page(member: Visitor, api: Api) -> None:
    job = await api.submit(name=EVIL, row=f"'\"{EVIL}", tags={EVIL: f'"{EVIL}'})
    await api.take()
    await api.report(job, 1, log(f"</script>{EVIL}"), metrics(1, **{f"train_loss{EVIL}": 1.0, "train_loss": 2.0}))
    for path in ("/", "/jobs", f"/jobs/{job}", f"/compare?job={job}", "/leaderboards", "/leaderboards/vtab-mini",
                 f"/jobs?search={EVIL}&row={EVIL}&tag={EVIL}", f"/jobs/{job}/log.txt"):  # fmt: skip
        answer = await member.get(path)
        assert answer.status_code == 200, path
        if "html" in answer.headers["content-type"]:
            assert "<script>alert" not in answer.text, path
            assert "</script><script>" not in answer.text, path
        else:
            assert answer.headers["x-content-type-options"] == "nosniff"
