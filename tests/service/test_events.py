"""What jobs said: complete, in order, and as it comes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.service.api import Api, log, numbered, result


async def sse(api: Api, path: str, **headers: str) -> AsyncIterator[tuple[str, Any]]:
    """Event names and data of a stream, to its end."""
    authorization = {"Authorization": f"Bearer {api.keys.admin}", **headers}
    async with api.http.stream("GET", path, headers=authorization) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield fields["event"], json.loads(fields["data"])
                fields = {}


async def test_a_stream_brings_what_was_and_what_comes_and_ends_with_the_job(api: Api) -> None:
    job = await api.submit()
    received: list[tuple[str, Any]] = []

    async def read() -> None:
        async for item in sse(api, f"/v1/jobs/{job}/events/stream"):
            received.append(item)

    reading = asyncio.create_task(read())
    await api.take()
    await api.report(job, 1, log("one"))
    await api.end(job, 1, "succeeded", result=result())
    async with asyncio.timeout(5):
        await reading
    polled = (await api.get(f"/v1/jobs/{job}/events"))["data"]
    assert [data for name, data in received[:-1]] == polled
    assert received[-1] == ("end", {"state": "succeeded", "reason": "succeeded"})


async def test_a_broken_stream_goes_on_after_the_last_event_seen(api: Api) -> None:
    job = await api.submit()
    await api.finish()
    path = f"/v1/jobs/{job}/events/stream"
    whole = [data["number"] async for name, data in sse(api, path) if name != "end"]
    rest = [data["number"] async for name, data in sse(api, path, **{"Last-Event-ID": "2"}) if name != "end"]
    assert rest == whole[2:]
    assert [name async for name, _ in sse(api, f"{path}?after={whole[-1]}")] == ["end"]


async def test_all_events_come_in_pages_and_can_be_waited_for(api: Api) -> None:
    await api.submit()
    job = await api.finish()
    await numbered(api)
    pages: list[dict[str, Any]] = []
    after = 0
    while True:
        page = await api.get(f"/v1/events?after={after}&limit=2", key=api.keys.tracking)
        pages += page["data"]
        after = page["next_cursor"]
        if not page["has_more"]:
            break
    assert [e["position"] for e in pages] == list(range(pages[0]["position"], pages[0]["position"] + len(pages)))
    waiting = asyncio.create_task(api.get(f"/v1/events?after={after}&wait=20", key=api.keys.tracking))
    await asyncio.sleep(0.1)
    new = await api.submit()
    async with asyncio.timeout(3):
        assert [e["job"] for e in (await waiting)["data"]] == [new]
    assert job != new


async def test_a_reader_s_place_is_kept_and_can_be_set_back(api: Api) -> None:
    worker = api.keys.tracking
    assert (await api.get("/v1/cursors/mlflow", key=worker))["position"] == 0
    for position in (7, 3):
        await api.call("PUT", "/v1/cursors/mlflow", json={"position": position}, key=worker)
        assert (await api.get("/v1/cursors/mlflow", key=worker))["position"] == position


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_numbers_that_are_not_finite_and_nul_characters_are_stored_harmlessly(api: Api, value: float) -> None:
    job = await api.submit()
    await api.take()
    metrics = {"epoch": 1, "step": 2, "values": {"train/loss": value, "train/lr": 0.1}}
    token = api.tokens[job, 1]
    body = {
        "token": token,
        "events": [event(1, "metrics", metrics), event(2, "log", {"level": "info", "message": "a\x00b\ud800"})],
    }
    answer = await api.call(
        "POST",
        f"/v1/leases/{job}/1/reports",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
        key=api.keys.worker,
    )
    assert answer.status_code == 200
    curves = (await api.get(f"/v1/jobs/{job}/metrics"))["data"]
    assert curves["train/loss"][0]["value"] is None
    assert curves["train/lr"][0]["value"] == 0.1


def event(seq: int, type: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "at": "2026-01-01T00:00:00Z", "type": type, "data": data}


async def test_a_run_writes_no_moves_and_says_nothing_after_its_end(api: Api) -> None:
    job = await api.submit()
    await api.take()
    move = event(1, "state", {"state": "succeeded"})
    assert (await api.send(job, 1, [move])).status_code == 422
    end = event(1, "end", {"reason": "nan", "message": "", "result": None})
    assert (await api.send(job, 1, [end, event(2, "log", {})])).status_code == 422
    assert (await api.job(job))["state"] == "starting"


async def test_the_log_is_text_for_people_and_json_for_programs(api: Api) -> None:
    job = await api.submit()
    await api.take()
    await api.report(job, 1, ("stage", {"name": "train"}), log("first step"))
    await api.end(job, 1, "nan", message="the loss became NaN")
    text = (await api.call("GET", f"/v1/jobs/{job}/logs")).text
    assert "[1] INFO    first step\n" in text
    assert "stage: train" in text
    assert "failed (nan: the loss became NaN)" in text.splitlines()[-1]
    lines = await api.get(f"/v1/jobs/{job}/logs", headers={"Accept": "application/json"})
    assert [line["message"] for line in lines["data"]][3:5] == ["stage: train", "first step"]


async def test_a_step_that_was_run_twice_stands_once_in_the_curves(api: Api) -> None:
    job = await api.submit()
    for attempt in (1, 2):
        await api.take()
        for step in (1, 2, 3)[attempt - 1 :]:
            values = {"train/loss": 10.0 * attempt + step, "train/lr": 0.1}
            await api.report(job, attempt, ("metrics", {"epoch": step, "step": step, "values": values}))
            if (attempt, step) == (1, 2):
                await api.end(job, 1, "crashed")
                break
    curves = (await api.get(f"/v1/jobs/{job}/metrics?key=train/loss"))["data"]
    assert list(curves) == ["train/loss"]
    assert [(p["step"], p["value"], p["attempt"]) for p in curves["train/loss"]] == [
        (1, 11.0, 1),
        (2, 22.0, 2),
        (3, 23.0, 2),
    ]


async def test_one_process_at_a_time_fills_mlflow(api: Api) -> None:
    async def hold(holder: str, for_s: float) -> int:
        body = {"holder": f"here/{holder}", "for_s": for_s}
        answer = await api.call("PUT", "/v1/cursors/mlflow/holder", json=body, key=api.keys.tracking)
        if answer.status_code != 200:
            assert answer.json()["type"] == "/problems/cursor-held"
            assert "here fills mlflow; only one process may" in answer.json()["detail"]
            assert "/first" not in answer.json()["detail"], "who is told the name could move the cursor by it"
        return answer.status_code

    assert [await hold("first", 30), await hold("first", 30), await hold("second", 30)] == [200, 200, 409]
    move = {"position": 7, "holder": "here/first"}
    await api.call("PUT", "/v1/cursors/mlflow", json=move, key=api.keys.tracking)
    assert await hold("second", 30) == 409, "a moved cursor is still held"
    await api.sql("UPDATE cursors SET held_until = now() - interval '1 second'")
    assert await hold("second", 30) == 200, "the first fell silent"
    assert await hold("second", 0) == 200
    assert await hold("third", 30) == 200, "the second let go"
    assert (await api.get("/v1/cursors/mlflow", key=api.keys.tracking))["position"] == 7
    crowd = await asyncio.gather(
        *(api.call("PUT", "/v1/cursors/other/holder", json={"holder": f"p{n}", "for_s": 9}) for n in range(20))
    )
    assert sorted(answer.status_code for answer in crowd) == [200] + [409] * 19


async def test_nobody_but_the_process_that_fills_mlflow_moves_its_cursor_save_to_start_again(api: Api) -> None:
    async def move(position: int, holder: str | None = None) -> int:
        body = {"position": position} | ({"holder": holder} if holder else {})
        return (await api.call("PUT", "/v1/cursors/mlflow", json=body, key=api.keys.tracking)).status_code

    hold = {"holder": "here/1", "for_s": 30.0}
    await api.call("PUT", "/v1/cursors/mlflow/holder", json=hold, key=api.keys.tracking)
    assert await move(5, "here/1") == 200
    assert [await move(2**62), await move(6, "there/2"), await move(1)] == [409, 409, 409]
    assert (await api.get("/v1/cursors/mlflow", key=api.keys.tracking))["position"] == 5
    assert await move(0) == 200, "`pace tracking rebuild`"
    await api.sql("UPDATE cursors SET held_until = now() - interval '1 second'")
    assert [await move(3, "here/1"), await move(4)] == [200, 200], "nobody has taken its place"
    assert await move(6, "there/2") == 409, "who names itself has to hold it"
    moves = [(entry["action"], entry["detail"]) for entry in (await api.get("/v1/audit?target=mlflow"))["data"]]
    assert moves == [("cursor.move", {"position": 4}), ("cursor.move", {"position": 0})]


async def test_who_makes_something_of_the_events_is_told_which_jobs_were_deleted(api: Api) -> None:
    kept, deleted = await api.submit(), await api.submit()
    for job in (kept, deleted):
        await api.act(job, "cancel")
    assert (await api.call("DELETE", f"/v1/jobs/{deleted}")).status_code == 204
    assert (await api.get("/v1/deletions", key=api.keys.tracking))["data"] == [deleted]
    assert (await api.get("/v1/deletions", params={"after": deleted}, key=api.keys.tracking))["data"] == []
    assert (await api.call("GET", "/v1/deletions", key=api.keys.user)).status_code == 403
