"""One dispatcher serves a cluster, and its nodes show that they reach the storage."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from pace_core.spec.leases import copy_of
from tests.service.api import CPU, Api


async def join(api: Api, dispatcher: str, *, cluster: str = "local", **more: Any) -> httpx2.Response:
    body = {"dispatcher": dispatcher, "code_version": "1", **more}
    return await api.call("POST", "/v1/clusters/join", json=body, key=await api.worker(cluster))


async def joined(api: Api, dispatcher: str = "d1", **more: Any) -> dict[str, Any]:
    answer = await join(api, dispatcher, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def prove(api: Api, node: str) -> httpx2.Response:
    return await api.call("POST", "/v1/clusters/proofs", json={"node": node}, key=api.keys.worker)


async def test_a_second_dispatcher_is_refused_while_the_first_is_heard_of(api: Api) -> None:
    await joined(api, "gpu-1/4711/a")
    job = await api.submit()
    for refused in (await join(api, "gpu-2/1/b"), await api.ask([CPU], dispatcher="gpu-2/1/b")):
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/cluster-taken")
        assert refused.json()["dispatcher"] == "gpu-1/4711/a"
        assert "gpu-1/4711/a, heard of" in refused.json()["detail"]
        assert "pace key create" in refused.json()["detail"]
    assert (await api.job(job))["state"] == "queued"
    assert [lease["job"] for lease in (await api.lease([CPU], dispatcher="gpu-1/4711/a"))["leases"]] == [job]
    await joined(api, "gpu-2/1/b", cluster="south")


async def test_it_takes_over_from_one_that_is_silent_has_left_or_is_known_to_be_dead(api: Api) -> None:
    await joined(api, "first")
    await api.sql("UPDATE clusters SET heard_at = now() - interval '11 seconds'")
    await joined(api, "second")
    assert (await join(api, "first")).status_code == 409, "it comes back too late"
    left = {"json": {"dispatcher": "first"}, "key": api.keys.worker}
    assert (await api.call("POST", "/v1/clusters/leave", **left)).status_code == 204
    assert (await join(api, "third")).status_code == 409, "only who serves can leave"
    await api.call("POST", "/v1/clusters/leave", json={"dispatcher": "second"}, key=api.keys.worker)
    await joined(api, "third")
    assert (await join(api, "fourth", replaces="first")).status_code == 409
    await joined(api, "fourth", replaces="third")
    assert (await api.get("/v1/clusters"))["data"][0]["dispatcher"] == "fourth"


async def test_what_runs_is_kept_when_another_dispatcher_takes_over(api: Api) -> None:
    job = await api.submit()
    await api.lease([CPU], dispatcher="first")
    await api.sql("UPDATE clusters SET heard_at = now() - interval '11 seconds'")
    held = {"job": job, "attempt": 1, "slot": "cpu-0"}
    assert (await api.lease([], all_slots=[CPU], dispatcher="second", holding=[held]))["lost"] == []
    assert (await api.report(job, 1, ("log", {"level": "info", "message": "x"})))["directive"] == "continue"


async def test_each_cluster_has_a_namespace_of_its_own_that_stays(api: Api) -> None:
    here, there = await joined(api), await joined(api, cluster="south")
    assert here["namespace"] != there["namespace"]
    assert (await joined(api))["namespace"] == here["namespace"]
    await api.sql("DELETE FROM installation")
    assert (await joined(api))["namespace"] != here["namespace"], "another installation, another one"


@pytest.mark.parametrize("node", ["n1", "../../../etc/passwd", "node\nwith 'odd' \\ letters/ü", "x" * 300])
async def test_a_node_that_copies_the_proof_reaches_the_storage(api: Api, node: str) -> None:
    proof = Path((await joined(api))["proof"])
    assert proof.is_relative_to(api.storage)
    copy = Path(copy_of(str(proof), node))
    assert copy.parent == proof.parent
    refused = await prove(api, node)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/storage-unreachable")
    assert "PACE_STORAGE" in refused.json()["detail"]
    copy.write_text("something else")
    assert (await prove(api, node)).status_code == 409
    copy.write_text(proof.read_text())
    assert (await prove(api, node)).status_code == 204
    assert not copy.exists()


async def test_a_slot_with_trouble_gets_nothing_and_says_why(api: Api) -> None:
    job = await api.submit()
    sick = {**CPU, "trouble": "node n1 does not reach the storage"}
    assert (await api.lease([sick]))["leases"] == []
    assert "does not reach the storage" in (await api.job(job))["waiting_for"]
    assert [lease["job"] for lease in (await api.lease([CPU]))["leases"]] == [job]


async def test_a_job_goes_to_a_slot_with_the_labels_that_it_requires_or_says_what_it_waits_for(api: Api) -> None:
    job = await api.submit(overrides={"resources": {"requires": {"gpu": "H100", "room": "3"}}})
    other = await api.submit()
    old = {**CPU, "name": "old", "labels": {"gpu": "T4", "room": "3"}}
    assert [lease["job"] for lease in (await api.lease([old]))["leases"]] == [other]
    assert "gpu=H100: workers seen so far have gpu=T4 only" in (await api.job(job))["waiting_for"]
    new = {**CPU, "name": "new", "labels": {"gpu": "H100", "room": "3", "disk": "nvme"}}
    assert [lease["job"] for lease in (await api.lease([new], all_slots=[old, new]))["leases"]] == [job]


async def test_labels_that_are_none_are_a_fault_of_their_field(api: Api) -> None:
    for requires in ({"a=b": "x"}, {"": "x"}, {"gpu": 100}, {"gpu": "H100,A100"}, {"gpu": "x\ny"}, ["gpu"], "gpu"):
        spec = {"task": {"name": "vtab-mini/digits"}, "method": {"name": "linear"}, "resources": {"requires": requires}}
        refused = await api.call("POST", "/v1/jobs", json={"spec": spec})
        assert refused.status_code == 422, requires
        assert refused.json()["errors"][0]["pointer"].startswith("/spec/resources/requires"), requires
