"""A job goes where its data are, or waits and says so."""

import hashlib
from typing import Any

from tests.service.api import CPU, Api, log

PATH = "/data/butterflies"
SPEC = {"task": {"name": "butterflies", "source": "image_folder", "path": PATH}, "method": {"name": "linear"}}
NORTH, SOUTH = ({**CPU, "name": f"slot-{name}", "node": name} for name in ("north", "south"))


async def submit(api: Api, **spec: Any) -> str:
    answer = await api.call("POST", "/v1/jobs", json={"spec": {**SPEC, **spec}})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def asks(
    api: Api, cluster: str, paths: dict[str, bool] | None = None, *, free: bool = True
) -> tuple[list[str], list[str]]:
    """The jobs that a cluster gets which says what it has, and what it is asked to look for."""
    slot = NORTH if cluster == "north" else SOUTH
    answer = await api.lease([slot] if free else [], all_slots=[slot], cluster=cluster, paths=paths)
    return [lease["job"] for lease in answer["leases"]], answer["look_for"]


async def both(api: Api) -> None:
    for cluster in ("north", "south"):
        await asks(api, cluster, {}, free=False)


async def test_a_job_goes_to_the_cluster_that_has_its_data_though_the_other_asked_first(api: Api) -> None:
    await both(api)
    job = await submit(api)
    assert await asks(api, "north", {}) == ([], [PATH]), "nobody knows yet: it is to look first"
    assert await asks(api, "north", {PATH: False}) == ([], [])
    assert await asks(api, "south", {PATH: True}) == ([job], [])


async def test_where_several_clusters_have_the_data_any_of_them_takes_it(api: Api) -> None:
    await both(api)
    jobs = [await submit(api), await submit(api)]
    assert (await asks(api, "south", {PATH: True}))[0] == jobs[:1]
    assert (await asks(api, "north", {PATH: True}))[0] == jobs[1:]


async def test_where_no_cluster_has_its_data_a_job_waits_and_says_so_and_begins_when_they_are_put_there(
    api: Api,
) -> None:
    await both(api)
    job = await submit(api)
    for cluster in ("north", "south"):
        assert await asks(api, cluster, {PATH: False}) == ([], [])
    said = (await api.job(job))["waiting_for"]
    assert said.startswith(f"a cluster that has its data {PATH}: of the 2 that are there none of them has them")
    assert await asks(api, "north", {PATH: True}) == ([job], [])


async def test_a_job_whose_data_only_a_cluster_had_that_is_gone_names_it(api: Api) -> None:
    await both(api)
    await asks(api, "east", {PATH: True}, free=False)
    await api.sql("UPDATE clusters SET seen_at = now() - interval '1 hour' WHERE name = 'east'")
    job = await submit(api)
    for cluster in ("north", "south"):
        await asks(api, cluster, {PATH: False})
    assert "east had them, but was not heard of lately" in (await api.job(job))["waiting_for"]


async def test_the_only_cluster_that_is_there_runs_it_and_says_itself_what_is_wrong(api: Api) -> None:
    job = await submit(api)
    assert await asks(api, "north", {PATH: False}) == ([job], [])


async def test_a_benchmark_s_job_goes_to_a_cluster_that_was_told_where_its_data_lie(api: Api) -> None:
    await both(api)
    job = await submit(api, task={"name": "vtab-1k/cifar100"})
    other = await submit(api, task={"name": "few-shot/pets/1-shot"})
    bundled = await submit(api, task={"name": "vtab-mini/digits"})
    vtab, few = "benchmark:vtab-1k", "benchmark:few-shot"
    given, look_for = await asks(api, "north", {})
    assert (given, sorted(look_for)) == ([bundled], [few, vtab])
    for cluster in ("north", "south"):
        assert await asks(api, cluster, {vtab: False, few: False}) == ([], [])
    said = (await api.job(job))["waiting_for"]
    assert said.startswith("a cluster that has the data of vtab-1k: of the 2 that are there none of them has them; say")
    assert "`pace data add vtab-1k FOLDER`" in said
    assert (await asks(api, "south", {vtab: True, few: False}))[0] == [job]
    assert (await asks(api, "west", {vtab: False, few: True}))[0] == [other]


async def test_data_that_every_worker_reaches_hold_no_job_up(api: Api) -> None:
    await both(api)
    bundled = await api.submit()
    assert (await asks(api, "north", {}))[0] == [bundled]


async def test_a_worker_of_before_that_does_not_look_takes_what_no_other_cluster_has(api: Api) -> None:
    await both(api)
    job = await submit(api)
    await asks(api, "south", {PATH: True}, free=False)
    assert await asks(api, "north") == ([], [])
    await asks(api, "south", {PATH: False}, free=False)
    assert await asks(api, "north") == ([job], [])


async def test_a_job_without_data_here_is_not_in_the_way_of_one_that_has_them(api: Api) -> None:
    await both(api)
    first = await submit(api)
    other = await submit(api, task={**SPEC["task"], "path": "/data/moths"})
    taken, _ = await asks(api, "north", {PATH: False, "/data/moths": True})
    assert taken == [other]
    assert (await api.job(first))["state"] == "queued"


async def test_no_cluster_is_asked_for_more_data_than_its_next_request_can_tell_of(api: Api) -> None:
    await both(api)
    for n in range(120):
        await submit(api, task={**SPEC["task"], "path": f"/data/{n:03}/{'x' * 1_900}"})
    told: dict[str, bool] = {}
    asked = [""]
    while asked:
        taken, asked = await asks(api, "north", told)
        told |= dict.fromkeys(asked, False)
    assert taken == []
    assert 100 <= len(told) < 120
    assert sum(map(len, told)) <= 200_000
    assert (await asks(api, "north", {}))[1], "a minute later it is asked again"


async def test_needs_too_long_for_the_queue_are_a_fault_of_their_field(api: Api) -> None:
    noise = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(100))  # what does not compress
    path = {**SPEC["task"], "path": f"/data/{noise[:3_900]}"}
    labels = {"requires": {noise[n : n + 60]: noise[n : n + 60] for n in range(20)}}
    for pointer, spec in (("/spec/task/path", {"task": path}), ("/spec/resources/requires", {"resources": labels})):
        for query in ("", "?validate_only=true"):
            refused = await api.call("POST", f"/v1/jobs{query}", json={"spec": {**SPEC, **spec}})
            assert refused.status_code == 422, refused.text
            (fault,) = refused.json()["errors"]
            assert fault["pointer"] == pointer
            assert "at most 2,000 together" in fault["message"]


async def test_one_that_broke_where_its_data_are_goes_there_again(api: Api) -> None:
    await both(api)
    job = await submit(api)
    await asks(api, "south", {PATH: False}, free=False)
    assert (await asks(api, "north", {PATH: True}))[0] == [job]
    key = await api.worker("north")
    events = [{"seq": 1, "at": "2026-01-01T00:00:00Z", "type": type, "data": data} for type, data in (log(),)]
    events.append({**events[0], "seq": 2, "type": "end", "data": {"reason": "crashed", "message": "", "result": None}})
    body = {"token": api.tokens[job, 1], "events": events}
    assert (await api.call("POST", f"/v1/leases/{job}/1/reports", json=body, key=key)).status_code == 200
    assert (await asks(api, "south", {PATH: False}))[0] == []
    assert (await asks(api, "north", {PATH: True}))[0] == [job]
