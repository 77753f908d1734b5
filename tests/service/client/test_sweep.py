"""`pace sweep`: combinations of values over seeds, submitted once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.service.api import SPEC, Api, result
from tests.service.client.commands import Pace

PACE_SPEC: dict[str, Any] = SPEC | {"regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1}}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(PACE_SPEC))
    return file


async def jobs(pace: Pace, *filters: str) -> list[dict[str, Any]]:
    return json.loads((await pace("jobs", "--limit", "100", "--json", *filters)).out)


async def test_every_combination_becomes_a_job_that_measures_on_validation_images(
    pace: Pace, api: Api, spec: Path
) -> None:
    said = await pace(
        "sweep", spec, "--set", "regularizer.sigma=0.1,1e-1,1", "--set", "regularizer.lambda=0.02,0.1", "--seeds", "0-1"
    )
    assert said.code == 0, said.err
    assert "8 jobs (4 combinations × 2 seeds); submitting 8" in said.out
    assert "validation images" in said.out
    found = await jobs(pace, "--tag", "sweep=mine")
    settings = {
        (job["spec"]["regularizer"]["sigma"], job["spec"]["regularizer"]["lambda"], job["seed"]) for job in found
    }
    assert settings == {(sigma, weight, seed) for sigma in (0.1, 1) for weight in (0.02, 0.1) for seed in (0, 1)}
    assert {job["phase"] for job in found} == {"search"}
    assert found[-1]["row"] == "lora_add + pace, sigma=0.1, lambda=0.02"


async def test_run_again_it_submits_only_what_is_missing(pace: Pace, api: Api, spec: Path) -> None:
    command = ("sweep", spec, "--set", "method.rank=2,4", "--seeds", "0,1")
    assert (await pace(*command)).code == 0
    await api.finish(0.5)
    failed = (await api.take())[0]
    await api.act(failed, "cancel")
    await api.end(failed, 1, "cancelled")
    again = await pace(*command)
    assert "of which 3 are done, waiting or running already; submitting 1" in again.out
    assert len(await jobs(pace)) == 5
    more = await pace(*command[:-1], "0,1,2")
    assert "6 jobs (2 combinations × 3 seeds), of which 4 are" in more.out


async def test_a_dry_run_counts_and_queues_nothing(pace: Pace, spec: Path) -> None:
    said = await pace("sweep", spec, "--set", "method.rank=1,2,4", "--seeds", "0,1", "--dry-run")
    assert "6 jobs (3 combinations × 2 seeds); would submit 6" in said.out
    assert "lora_add + pace, rank=2 / seed 1" in said.out
    assert await jobs(pace) == []


async def test_it_waits_and_ends_with_the_table(pace: Pace, api: Api, spec: Path) -> None:
    waiting = asyncio.create_task(pace("sweep", spec, "--set", "method.rank=2,4", "--phase", "final", "--wait"))
    for accuracy in (0.25, 0.75):
        async with asyncio.timeout(20):
            while not (leases := (await api.lease())["leases"]):
                await asyncio.sleep(0.02)
        job = leases[0]
        await api.end(job["job"], job["attempt"], "succeeded", result=result(accuracy))
    said = await waiting
    assert said.code == 0, said.err
    assert "lora_add + pace, rank=4" in said.out
    assert "75.0*" in said.out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--set", "method.rank="), "has no value"),
        (("--set", "method.rank=1,[2"), "are not values separated by commas"),
        (("--set", "method.rank=1", "--set", "method.rank=2"), "is given twice"),
        (("--set", "seed=1,2"), "--seeds 0,1,2"),
        (("--set", "task.phase=final"), "--phase final"),
        (("--seeds", "a"), "must be whole numbers"),
        (("--seeds", "5-1"), "is not a range"),
        (("--seeds", "0-999", "--set", "method.rank=1,2"), "2,000 jobs are more than 1,000"),
    ],
)
async def test_a_sweep_that_makes_no_sense_is_told(
    nowhere: Pace, spec: Path, arguments: tuple[str, ...], why: str
) -> None:
    said = await nowhere("sweep", spec, *arguments)
    assert (said.code, why in " ".join(said.told.replace("│", " ").split())) == (2, True), said.err


async def test_a_fault_in_one_combination_is_told_before_anything_is_queued(pace: Pace, spec: Path) -> None:
    said = await pace("sweep", spec, "--set", "method.rank=4,-1")
    assert said.code == 1
    assert "method.rank" in said.err
    assert await jobs(pace) == []
