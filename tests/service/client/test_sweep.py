"""`pace sweep`: every combination of values, searched on validation images, and the best tested."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.service.api import SPEC, Api
from tests.service.client.commands import Pace
from tests.service.client.test_cli_study import searched
from tests.service.studies import finish

PACE_SPEC: dict[str, Any] = SPEC | {"regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1}}
VALUES = ("--set", "regularizer.sigma=0.1,1e-1,0.5", "--set", "regularizer.lambda=0.02,0.1", "--set", "method.rank=2")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(PACE_SPEC))
    return file


async def studies(api: Api) -> list[dict[str, Any]]:
    return (await api.get("/v1/studies"))["data"]


async def test_a_sweep_prints_plan_and_time_searches_and_ends_with_the_table_of_its_best(
    pace: Pace, api: Api, spec: Path
) -> None:
    running = asyncio.create_task(pace("sweep", spec, *VALUES, "--seeds", "0"))
    async with asyncio.timeout(120):
        while not await studies(api):
            await asyncio.sleep(0.05)
    await searched(api)
    await finish(api, 0.9)
    said = await running
    assert said.code == 0, said.err
    assert said.out.startswith("4 trials by grid, scheduler none"), said.err
    assert "then 1 final run of the best" in " ".join(said.out.split())
    assert "of one slot, estimated for a CPU" in said.out
    (study,) = await studies(api)
    assert study["best"]["config"] == {"regularizer.sigma": 0.5, "regularizer.lambda": 0.1}
    (final,) = (await api.get(f"/v1/jobs?suite={study['suite']}"))["data"]
    assert (final["phase"], final["spec"]["method"]["rank"]) == ("final", 2)
    assert any("0.5" in line and "60.0" in line for line in said.out.splitlines()), said.out


async def test_a_dry_run_says_what_it_would_take_and_submits_nothing(pace: Pace, api: Api, spec: Path) -> None:
    said = await pace("sweep", spec, "--set", "method.rank=1,2,4", "--seeds", "0,1", "--dry-run")
    assert said.out.startswith("3 trials by grid"), said.err
    assert "2 final runs" in " ".join(said.out.split())
    assert await studies(api) == []


async def test_without_values_it_is_the_papers_grid(pace: Pace, spec: Path) -> None:
    assert (await pace("sweep", spec, "--dry-run")).out.startswith("30 trials by grid")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--set", "method.rank="), "has no value"),
        (("--set", "method.rank=1,[2"), "are not values separated by commas"),
        (("--set", "method.rank=1", "--set", "method.rank=2"), "is given twice"),
        (("--set", "seed=1,2"), "--seeds 0,1,2"),
        (("--set", "task.phase=final"), "`pace suite submit` tests several rows"),
        (("--seeds", "a"), "must be whole numbers"),
        (("--seeds", "5-1"), "is no range"),
        (("--set", f"method.rank={','.join(map(str, range(1, 1002)))}"), "1,001 combinations are more than 1,000"),
    ],
)
async def test_a_sweep_that_makes_no_sense_is_told(
    nowhere: Pace, spec: Path, arguments: tuple[str, ...], why: str
) -> None:
    said = await nowhere("sweep", spec, *arguments)
    assert (said.code, why in " ".join(said.told.replace("│", " ").split())) == (2, True), said.err


async def test_a_fault_in_one_combination_is_told_without_a_service(nowhere: Pace, spec: Path) -> None:
    said = await nowhere("sweep", spec, "--set", "method.rank=4,-1")
    assert said.code == 1
    assert "method.rank" in said.err
