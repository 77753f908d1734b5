"""The way of one job, from submission to result."""

from tests.service.api import Api, log, result


async def test_a_submitted_job_is_leased_reported_on_and_succeeds(api: Api) -> None:
    job = await api.submit(name="first")
    queued = await api.job(job)
    assert (queued["state"], queued["attempt"], queued["task"], queued["benchmark"]) == (
        "queued",
        0,
        "digits",
        "vtab-mini",
    )

    (lease,) = (await api.lease())["leases"]
    assert (lease["job"], lease["attempt"], lease["resume_from"]) == (job, 1, [])
    assert lease["folder"] == f"{api.storage}/jobs/{job}/1"
    assert lease["spec"] == queued["spec"]
    assert (await api.job(job))["state"] == "starting"

    answer = await api.report(job, 1, log(), ("progress", {"epoch": 1, "epochs": 3, "step": 5, "steps": 75}))
    assert answer == {"acknowledged": 2, "directive": "continue"}
    running = await api.job(job)
    assert running["state"] == "running"
    assert running["progress"]["step"] == 5

    assert (await api.end(job, 1, "succeeded", result=result(0.9)))["acknowledged"] == 3
    ended = await api.job(job)
    assert (ended["state"], ended["reason"]) == ("succeeded", "succeeded")
    assert ended["result"]["metrics"][0]["value"] == 0.9
    assert len(ended["cell"]) == 32
    events = (await api.get(f"/v1/jobs/{job}/events"))["data"]
    assert [e["number"] for e in events] == list(range(1, len(events) + 1))
    assert [e["data"].get("move", e["type"]) for e in events] == [
        "submit",
        "claim",
        "begin",
        "log",
        "progress",
        "end",
        "succeed",
    ]
