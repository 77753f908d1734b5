"""`pace workers` against a real API."""

import asyncio
import csv
import io
import json

from tests.service.api import CPU, Api
from tests.service.client.commands import Pace

HOSTILE = {**CPU, "name": "[red]slot[/]\n\x1b[2J", "node": "--wait", "labels": {"gpu": "[bold]H100"}}


async def test_places_are_listed_with_what_they_run_and_why_one_takes_nothing(pace: Pace, api: Api) -> None:
    assert "no worker has connected" in (await pace("workers")).out
    job = await api.submit()
    sick = {**CPU, "name": "cpu-1", "node": "n2", "trouble": "its disk is full"}
    await api.lease([CPU], all_slots=[{**CPU, "labels": {"gpu": "H100", "room": "3"}}, sick])
    said = (await pace("workers")).out
    for part in ("local", "cpu-0", "n1", "gpu=H100, room=3", job, "its disk is full"):
        assert part in said, part
    listed = json.loads((await pace("workers", "--json")).out)
    assert [slot["job"] for slot in listed[0]["slots"]] == [job, None]
    rows = list(csv.DictReader(io.StringIO((await pace("workers", "--csv")).out)))
    assert [(row["cluster"], row["place"], row["labels"], row["job"]) for row in rows] == [
        ("local", "cpu-0", "gpu=H100 room=3", job),
        ("local", "cpu-1", "", ""),
    ]
    assert "its disk is full" in rows[1]["takes_nothing_because"]


async def test_a_place_is_drained_and_opened_by_its_name(pace: Pace, api: Api) -> None:
    await api.lease([], all_slots=[CPU, {**CPU, "name": "cpu-1", "node": "n2"}])
    for name in ("cpu-0", "n1", "local/n1", "local/cpu-0", "local"):
        drained = await pace("workers", "drain", name, "--reason", "new disks", "--wait")
        assert drained.out == f"{name}  drained; nothing runs there\n", drained.err
        assert "drained by ada: new disks" in (await pace("workers")).out
        assert (await pace("workers", "undrain", name)).out == f"{name}  takes jobs\n"
        assert "new disks" not in (await pace("workers")).out


async def test_a_drain_can_wait_until_nothing_runs_there(pace: Pace, api: Api) -> None:
    job = await api.submit()
    await api.take()
    assert f"still runs {job}" in (await pace("workers", "drain", "local")).out
    waiting = asyncio.create_task(pace("workers", "drain", "local", "--now", "--wait"))
    async with asyncio.timeout(20):
        while (await api.report(job, 1))["directive"] != "pause":
            await asyncio.sleep(0.05)
    assert not waiting.done()
    await api.end(job, 1, "paused")
    assert "nothing runs there" in (await waiting).out
    assert (await api.job(job))["state"] == "queued"


async def test_names_that_mean_nothing_or_several_are_told_with_the_cure(pace: Pace, api: Api) -> None:
    await api.lease([], all_slots=[CPU])
    await api.lease([], all_slots=[CPU], cluster="south")
    assert "`pace workers` lists them" in (await pace("workers", "drain", "nowhere")).told
    assert "local/cpu-0, south/cpu-0" in (await pace("workers", "drain", "cpu-0")).told
    assert (await pace("workers", "forget", "local")).code == 1
    assert (await pace("workers", "forget", "../keys")).code == 1


async def test_a_worker_s_names_draw_nothing_on_the_terminal(pace: Pace, api: Api) -> None:
    await api.lease([], all_slots=[HOSTILE])
    said = (await pace("workers")).out
    assert "\x1b[2J" not in said
    assert "[red]slot[/]" in said
    assert "[bold]H100" in said
    assert (await pace("workers", "drain", "local/--wait")).code == 0
