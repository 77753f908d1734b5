"""How the service says how it is, and what it offers."""

import re
from typing import Any

import httpx2
from starlette.responses import PlainTextResponse

from pace_core.spec.leases import Heartbeat
from service.__main__ import server_config
from service.settings import Settings
from tests.service.api import CPU, Api, numbered


async def test_the_service_is_ready_without_workers_and_complete_with_them(api: Api) -> None:
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    ready = await api.get("/readyz")
    assert (ready["ready"], ready["complete"]) == (True, False)
    assert {name: part["status"] for name, part in ready["parts"].items()} == {
        "postgres": "ok",
        "storage": "ok",
        "dispatcher": "unknown",
        "ray": "unknown",
        "studies": "unknown",
        "mlflow": "unknown",
        "tracking": "unknown",
    }
    for part in ("dispatcher", "ray", "studies", "mlflow", "tracking"):
        beat = Heartbeat(part=part, ok=True, detail="fine").model_dump()
        key = api.keys.worker if part in ("dispatcher", "ray", "studies") else api.keys.tracking
        assert (await api.call("POST", "/v1/heartbeats", json=beat, key=key)).status_code == 204
    assert (await api.get("/readyz"))["complete"] is True


async def test_strangers_are_told_only_whether_it_is_ready(api: Api) -> None:
    beat = {"part": "mlflow", "ok": False, "detail": "connection to 10.0.0.7:5432 refused for user pace"}
    await api.call("POST", "/v1/heartbeats", json=beat, key=api.keys.tracking)
    for headers in ({}, {"Authorization": "Bearer pace_wrong"}):
        said = await api.http.get("/readyz", headers=headers)
        assert (said.status_code, said.json()) == (
            200,
            {"ready": True, "complete": False, "mlflow_shared": False, "parts": {}},
        )
    assert "10.0.0.7" in (await api.call("GET", "/readyz", key=api.keys.reader)).text


async def test_where_a_request_came_from_is_believed_of_named_proxies_only() -> None:
    async def who(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(scope["client"][0])(scope, receive, send)

    async def seen(proxies: str, via: str) -> str:
        config = server_config(who, Settings(trusted_proxies=proxies))  # type: ignore[arg-type]
        config.load()
        transport = httpx2.ASGITransport(app=config.loaded_app, client=(via, 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
            return (await http.get("/", headers={"X-Forwarded-For": "203.0.113.9"})).text

    assert await seen("", "127.0.0.1") == "127.0.0.1"
    assert await seen("10.0.0.0/8", "192.0.2.1") == "192.0.2.1"
    assert await seen("10.0.0.0/8", "10.1.2.3") == "203.0.113.9"


async def test_a_part_that_fails_or_falls_silent_is_named(api: Api) -> None:
    beat = {"part": "mlflow", "ok": False, "detail": "connection refused"}
    await api.call("POST", "/v1/heartbeats", json=beat, key=api.keys.tracking)
    part = (await api.get("/readyz"))["parts"]["mlflow"]
    assert (part["status"], part["detail"]) == ("failing", "connection refused")
    await api.sql("UPDATE heartbeats SET at = now() - interval '10 minutes'")
    part = (await api.get("/readyz"))["parts"]["mlflow"]
    assert part["status"] == "silent"


async def test_the_catalogue_shows_everything_a_spec_can_name(api: Api) -> None:
    methods = (await api.get("/v1/catalogue/methods"))["data"]
    lora = next(entry for entry in methods if entry["name"] == "lora_add")
    assert lora["params"]["properties"]["rank"]["default"] == 8
    assert lora["gives"] == ["delta", "merged"]
    for kind in ("regularizers", "sources", "backbones", "benchmarks", "recipes"):
        assert (await api.get(f"/v1/catalogue/{kind}"))["data"], kind
    assert (await api.call("GET", "/v1/catalogue/spells")).status_code == 422


async def test_openapi_describes_every_call_with_problems_and_examples(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    operations = {
        (method, path): operation for path, item in document["paths"].items() for method, operation in item.items()
    }
    assert ("post", "/v1/jobs") in operations
    assert all(operation.get("summary") and operation.get("tags") for operation in operations.values())
    assert all("default" in operation["responses"] for operation in operations.values())
    assert document["components"]["schemas"]["JobRequest"]["examples"]
    docs = await api.http.get("/docs")
    assert docs.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', docs.text)
    assert sources
    for source in sources:  # on a machine without a way out the page works too
        assert (await api.http.get(source)).status_code == 200


async def test_a_request_s_id_is_answered_so_that_it_can_be_found_in_the_log(api: Api) -> None:
    assert (await api.http.get("/healthz", headers={"X-Request-Id": "abc-1"})).headers["x-request-id"] == "abc-1"
    assert (await api.http.get("/healthz")).headers["x-request-id"].startswith("req_")


async def test_one_cluster_that_is_well_hides_no_other_that_is_not(api: Api) -> None:
    for cluster, ok, detail in (("local", True, "1 node"), ("south", False, "no node"), ("west", True, "2 nodes")):
        beat = {"part": "ray", "ok": ok, "detail": detail}
        key = await api.worker(cluster)
        assert (await api.call("POST", "/v1/heartbeats", json=beat, key=key)).status_code == 204
    part = (await api.get("/readyz"))["parts"]["ray"]
    assert (part["status"], part["detail"]) == ("failing", "south: no node; 2 of 3 ok")
    await api.lease([], all_slots=[CPU], cluster="south")
    await api.sql("UPDATE clusters SET seen_at = now() - interval '1 hour'")
    assert (await api.call("DELETE", "/v1/clusters/south")).status_code == 204
    assert (await api.get("/readyz"))["parts"]["ray"]["status"] == "ok"


async def test_a_monitoring_system_reads_numbers_of_the_whole_installation(api: Api) -> None:
    await api.submit()
    await api.submit()
    await api.lease([CPU], all_slots=[CPU, {**CPU, "name": "cpu-1", "trouble": "its disk is full"}])
    beat = Heartbeat(part="mlflow", ok=False, detail="").model_dump()
    await api.call("POST", "/v1/heartbeats", json=beat, key=api.keys.tracking)
    await api.call("PUT", "/v1/cursors/mlflow", json={"position": 1}, key=api.keys.tracking)
    await numbered(api)
    answer = await api.call("GET", "/metrics", key=api.keys.tracking)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    said = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    oldest = float(said.pop("pace_queue_oldest_seconds{}"))
    assert 0 <= oldest < 60
    assert said == {
        'pace_jobs_queued{project="default"}': "1",
        'pace_jobs_running{project="default"}': "1",
        'pace_slots{cluster="local"}': "2",
        'pace_slots_in_trouble{cluster="local"}': "1",
        "pace_events{}": "3",
        "pace_events_unnumbered{}": "0",
        'pace_events_behind{reader="mlflow"}': "2",
        'pace_part_ok{part="mlflow",cluster=""}': "0",
    }
