"""Service, workers and clients of different versions: the newer one's words are understood as far as possible."""

import json
from typing import Any

import httpx2
import pytest

from pace_core.spec.leases import PROTOCOL, LeaseRequest, Report, Slot
from service.client import AsyncClient, JobRequest, ProblemError
from tests.service.api import CPU, SPEC, Api, event, log, numbered, result


def with_more(value: Any) -> Any:
    """The JSON as a newer version would send it: every object has a field that nobody here knows."""
    if isinstance(value, dict):
        return {key: with_more(item) for key, item in value.items()} | {"of_a_newer_version": "news"}
    return [with_more(item) for item in value] if isinstance(value, list) else value


class NewerService(httpx2.AsyncBaseTransport):
    """Today's service, whose answers say more."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        if not response.headers.get("content-type", "").endswith("json"):
            return response
        return httpx2.Response(response.status_code, json=with_more(response.json()))

    async def aclose(self) -> None:
        await self._inner.aclose()


def newer(base_url: str, key: str) -> AsyncClient:
    return AsyncClient(base_url, key, transport=NewerService())


def request(**more: Any) -> LeaseRequest:
    return LeaseRequest(
        dispatcher="d", slots=[Slot(**CPU)], all_slots=[Slot(**CPU)], code_version="1", wait_s=0, **more
    )


async def test_client_and_worker_pass_over_what_a_newer_service_says(base_url: str, api: Api) -> None:
    async with newer(base_url, api.keys.admin) as client, newer(base_url, api.keys.worker) as worker:
        job = await client.jobs.submit(JobRequest(spec=SPEC))
        (lease,) = (await worker.worker.lease(request())).leases
        assert lease.job == job.id
        events = [event(1, *log()), event(2, "end", {"reason": "succeeded", "message": "", "result": result(0.5)})]
        said = await worker.worker.report(job.id, 1, Report.model_validate({"token": lease.token, "events": events}))
        assert (said.acknowledged, said.directive) == (2, "stop")
        ended = await client.jobs.get(job.id)
        assert ended.result
        assert ended.result.metrics[0].value == 0.5
        assert [line.message for line in await client.jobs.logs(job.id)][:1] == ["queued"]
        assert [entry.id async for entry in client.jobs.list()] == [job.id]
        await numbered(api)
        assert len(await client.worker.events(0)) == 6
        with pytest.raises(ProblemError, match="there is no job"):
            await client.jobs.get("job_none")


async def test_the_service_passes_over_what_a_newer_worker_says(api: Api) -> None:
    job = await api.submit()
    body = with_more(request().model_dump(mode="json"))
    answer = await api.call("POST", "/v1/leases", json=body, key=api.keys.worker)
    (lease,) = answer.json()["leases"]
    report = with_more({"token": lease["token"], "events": [event(1, *log())]})
    said = await api.call("POST", f"/v1/leases/{job}/1/reports", json=report, key=api.keys.worker)
    assert said.json()["acknowledged"] == 1
    beat = with_more({"part": "ray", "ok": True, "detail": ""})
    assert (await api.call("POST", "/v1/heartbeats", json=beat, key=api.keys.worker)).status_code == 204


@pytest.mark.parametrize("theirs", [PROTOCOL - 1, PROTOCOL + 1])
async def test_a_worker_of_another_protocol_is_told_so_before_it_gets_a_job(api: Api, theirs: int) -> None:
    """Whatever else it says, in a form that may have changed."""
    job = await api.submit()
    for body in ({"protocol": theirs, "anything": []}, request().model_dump(mode="json") | {"protocol": theirs}):
        answer = await api.call("POST", "/v1/leases", json=body, key=api.keys.worker)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/wrong-protocol")
        assert answer.json()["protocol"] == PROTOCOL
        older = "service" if theirs > PROTOCOL else "worker"
        assert f"speaks protocol {theirs}, this service {PROTOCOL}: update the {older}" in answer.json()["detail"]
    assert (await api.job(job))["attempt"] == 0
    assert not await api.sql("SELECT 1 FROM clusters")


@pytest.mark.parametrize(
    "body", ["", "[]", "1", '"x"', '{"protocol": "new"}', '{"protocol": null}', '{"protocol": 1e999}', "{"]
)
async def test_what_is_no_lease_request_at_all_is_told_so(api: Api, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await api.call("POST", "/v1/leases", content=body, headers=headers, key=api.keys.worker)).status_code == 422


async def test_events_of_a_type_that_nobody_knows_yet_are_kept_and_shown(api: Api) -> None:
    job = await api.submit()
    _, attempt = await api.take()
    data = {"watts": [210.5, 199.0], "of": {"gpu": 0}}
    await api.report(job, attempt, log("before"), ("power.drawn", data), log("after"))
    await api.end(job, attempt, "succeeded", result=result())
    kept = (await api.get(f"/v1/jobs/{job}/events?type=power.drawn"))["data"]
    assert [(item["seq"], item["type"], item["data"]) for item in kept] == [(2, "power.drawn", data)]
    await numbered(api)
    assert "power.drawn" in [item["type"] for item in (await api.get("/v1/events"))["data"]]
    stream = await api.call("GET", f"/v1/jobs/{job}/events/stream")
    assert "event: power.drawn\n" in stream.text
    assert json.loads(stream.text.split("event: power.drawn\ndata: ")[1].split("\n")[0])["data"] == data
    async with AsyncClient(str(api.http.base_url), api.keys.admin) as client:
        assert "power.drawn" in [item.type async for item in client.jobs.events(job)]


@pytest.mark.parametrize("type", ["", "Power", "a b", "x\nevent: end", "../x", "x" * 51, "\u0000", 3, None])
async def test_a_type_that_is_no_word_is_refused(api: Api, type: Any) -> None:
    job = await api.submit()
    _, attempt = await api.take()
    answer = await api.send(job, attempt, [event(1, type, {})])
    assert answer.status_code == 422
