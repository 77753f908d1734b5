"""What a batch of jobs says while it runs where there is no terminal."""

import asyncio
import io

import pytest
from rich.console import Console

from perf import rows
from service.client import AsyncClient
from tests.service.api import Api, result


async def test_which_job_runs_how_far_it_is_and_how_long_the_others_take(
    api: Api, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(rows, "console", Console(file=said, width=200))
    monkeypatch.setattr(rows, "TELL_EVERY_S", 0.05)
    async with AsyncClient(base_url, api.keys.admin) as client:
        running = asyncio.create_task(
            rows.run_all(client, [rows.request("LoRA_add", "digits", 0), rows.request("Linear", "digits", 0)])
        )
        async with asyncio.timeout(20):
            while not (leases := (await api.lease())["leases"]):
                await asyncio.sleep(0.02)
            job, attempt = leases[0]["job"], leases[0]["attempt"]
            await api.report(job, attempt, ("progress", {"epoch": 2, "epochs": 3, "step": 9, "steps": 60}))
            while "epoch 2/3" not in said.getvalue():
                await asyncio.sleep(0.02)
            assert "digits / LoRA_add / seed 0: running epoch 2/3, step 9 of 60" in said.getvalue()
            await api.report(job, attempt, ("progress", {"epoch": 2, "epochs": 3, "step": 10, "steps": 60}))
            while "step 10 of 60" not in said.getvalue():
                await asyncio.sleep(0.02)
            assert said.getvalue().count("step 9 of 60") == 1, "what did not change is not said again"
            await api.end(job, attempt, "succeeded", result=result(0.5))
            while "1 of 2 jobs done" not in said.getvalue():
                await asyncio.sleep(0.02)
            assert "about" in said.getvalue()
            assert f"50.0 %  {job}" in said.getvalue()
            await api.finish(0.25)
            await running
    assert "2 of 2 jobs done" in said.getvalue()


def test_the_time_left_follows_the_pace_so_far() -> None:
    assert rows.how_far(2, 6, 60.0) == "2 of 6 jobs done after 60 s, about 2 min left"
    assert rows.how_far(0, 6, 5.0) == "0 of 6 jobs done after 5 s"
    assert rows.how_far(6, 6, 90.0) == "6 of 6 jobs done after 90 s"
