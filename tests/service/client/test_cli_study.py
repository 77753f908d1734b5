"""`pace study`: a search as one command."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from service.client import Client
from service.client.cli.study import under_way
from service.client.cli.study_report import said
from tests.service.api import Api
from tests.service.client.commands import Pace
from tests.service.studies import driver, finish, say, tried

SPEC = """task: {name: vtab-mini/digits}
method: {name: lora_add}
regularizer: {name: pace}
training: {epochs: 2}
"""
SPACE = ("--space", "regularizer.sigma=0.1,0.5", "--space", "regularizer.lambda=0.02,0.1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(SPEC)
    return tmp_path / "mine.yaml"


async def searched(api: Api) -> None:
    """Walks through the grid, as a driver does."""
    lease = await driver(api)
    assert lease is not None
    for sigma in (0.1, 0.5):
        for weight in (0.02, 0.1):
            config: dict[str, Any] = {"regularizer.sigma": sigma, "regularizer.lambda": weight}
            await tried(api, lease, config, sigma + weight)
    await say(api, lease, "end", importance={"regularizer.sigma": 0.96, "regularizer.lambda": 0.04})


async def test_a_study_prints_its_plan_and_ends_with_its_best(pace: Pace, api: Api, file: Path) -> None:
    running = asyncio.create_task(pace("study", "submit", file, *SPACE, "--seeds", "0"))
    async with asyncio.timeout(60):
        while not (await api.get("/v1/studies"))["data"]:
            await asyncio.sleep(0.05)
    await searched(api)
    await finish(api, 0.9)
    said = await running
    assert said.out.startswith("4 trials by grid, scheduler none: 2 epochs on validation images"), said.err
    assert any(line.split()[:5] == ["3", "0.5", "0.1", "2", "60.0"] for line in said.out.splitlines()), said.out
    assert "share of the variance explained by each field: regularizer.sigma 96 %" in said.out


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        (("--task", "vtab-mini/digits"), ("--task", "glyphs")),
        (("--row", "lora_add + pace"), ("--row", "PACE")),
        (("--search", "MIN"), ("--search", "yours")),
        (("--open",), ("--ended",)),
    ],
)
async def test_a_list_of_studies_is_narrowed(
    pace: Pace, api: Api, file: Path, wanted: tuple[str, ...], other: tuple[str, ...]
) -> None:
    made = json.loads((await pace("study", "submit", file, *SPACE, "--detach", "--json")).out)
    found = json.loads((await pace("study", "list", *wanted, "--json")).out)
    assert [study["id"] for study in found] == [made["id"]]
    assert json.loads((await pace("study", "list", *other, "--json")).out) == []


async def test_a_study_has_ended_with_the_last_run_of_its_best(pace: Pace, api: Api, file: Path) -> None:
    async def ended() -> list[int]:
        return [len((await api.get(f"/v1/studies?ended={said}"))["data"]) for said in ("true", "false")]

    await pace("study", "submit", file, *SPACE, "--seeds", "0", "--detach")
    await searched(api)
    assert await ended() == [0, 1], "the best is still to be tested"
    await finish(api, 0.9)
    assert await ended() == [1, 0]


async def test_after_the_last_trial_it_is_told_how_many_final_runs_have_ended(
    pace: Pace, api: Api, file: Path, base_url: str
) -> None:
    await pace("study", "submit", file, *SPACE, "--seeds", "0,1", "--detach")
    (study,) = (await api.get("/v1/studies"))["data"]

    def told() -> str:
        with Client(base_url, api.keys.admin) as client:
            return under_way(client, study["id"])

    assert await asyncio.to_thread(told) == ""
    await searched(api)
    assert await asyncio.to_thread(told) == "final runs: 0 of 2 ended"
    await finish(api, 0.9)
    assert await asyncio.to_thread(told) == "final runs: 1 of 2 ended"


async def test_its_trials_come_as_csv_and_json(pace: Pace, api: Api, file: Path) -> None:
    await pace("study", "submit", file, *SPACE, "--detach")
    await searched(api)
    (study,) = (await api.get("/v1/studies"))["data"]
    lines = (await pace("study", "show", study["id"], "--csv")).out.splitlines()
    assert lines[0] == "number,state,value,epochs,regularizer.sigma,regularizer.lambda"
    assert lines[4].startswith("3,finished,0.6,2,0.5,0.1")
    shown = (await pace("study", "show", study["id"])).out
    assert any(line.split() == ["0.1", "20.0", "60.0"] for line in shown.splitlines()), shown  # the map's upper line
    said = json.loads((await pace("study", "show", study["id"], "--json")).out)
    assert len(said["trials"]) == 4
    assert len(said["report"]["map"]["points"]) == 4
    assert "4 of 4" in (await pace("study", "list")).out
    more = await pace("study", "extend", study["id"], "--space", "regularizer.sigma=0.1,0.5,1.0")
    assert more.out.startswith(f"{study['id']}  running  4 finished"), more.err
    assert "paused" in (await pace("study", "pause", study["id"])).out
    assert "running" in (await pace("study", "resume", study["id"])).out
    assert "cancelled" in (await pace("study", "cancel", study["id"])).out


async def test_ranges_are_written_as_calls(pace: Pace, api: Api, file: Path) -> None:
    said = await pace(
        *("study", "submit", file, "--detach", "--search", "tpe", "--scheduler", "asha", "--trials", "5"),
        *("--space", "optimizer.lr=loguniform(1e-4,1e-1)", "--space", "method.rank=int(1,16)"),
    )
    assert said.out.startswith("5 trials by tpe, scheduler asha"), said.err
    (study,) = (await api.get("/v1/studies"))["data"]
    space = study["request"]["space"]
    assert space["optimizer.lr"]["loguniform"] == [1e-4, 1e-1]
    assert space["method.rank"]["int"] == [1, 16]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--space", "optimizer.lr=normal(0,1)"), "must be choice"),
        (("--space", "optimizer.lr=uniform(0,1)"), "made of choices"),
        ((*SPACE, "--trials", "2"), "a grid runs whole"),
        ((*SPACE, "--search", "hyperband"), "hyperband"),
    ],
)
async def test_what_is_wrong_is_told(pace: Pace, file: Path, arguments: tuple[str, ...], says: str) -> None:
    said = await pace("study", "submit", file, *arguments)
    assert said.code > 0
    assert says in said.told


async def test_budget_metric_and_rungs_are_options_and_a_dry_run_submits_nothing(
    pace: Pace, api: Api, file: Path
) -> None:
    command = (
        *("study", "submit", file, *SPACE, "--scheduler", "asha", "--rungs", "one_run", "--max-epochs", "5"),
        *("--max-hours", "0.5", "--metric", "val/loss", "--mode", "min", "--learn", "--search", "gp", "--trials", "9"),
    )
    said = await pace(*command, "--dry-run")
    assert said.out.startswith("9 trials by gp, scheduler asha: 1 → 2 epochs"), said.err
    assert "about 5 together" in " ".join(said.out.split())
    assert (await api.get("/v1/studies"))["data"] == []
    await pace(*command, "--detach")
    (study,) = (await api.get("/v1/studies"))["data"]
    asked = study["request"]
    assert (asked["rungs"], asked["metric"], asked["mode"], asked["learn"]) == ("one_run", "val/loss", "min", True)
    assert asked["budget"] == {"epochs": 5, "hours": 0.5}
    more = await pace("study", "extend", study["id"], "--max-epochs", "50")
    assert more.code == 0, more.err


async def test_a_loss_is_no_percentage_though_it_lies_between_0_and_1(pace: Pace, api: Api, file: Path) -> None:
    await pace("study", "submit", file, *SPACE, "--metric", "val/loss", "--mode", "min", "--detach")
    (study,) = (await api.get("/v1/studies"))["data"]
    lease = await driver(api)
    assert lease is not None
    for sigma, loss in ((0.1, 0.25), (0.5, 1.5)):
        config: dict[str, Any] = {"regularizer.sigma": sigma, "regularizer.lambda": 0.02}
        await tried(api, lease, config, loss, metric="val/loss")
    shown = (await pace("study", "show", study["id"])).out
    values = [line.split()[4] for line in shown.splitlines() if line.split()[1:2] in (["0.1"], ["0.5"])]
    assert values == ["0.25", "1.5"], shown
    assert said(0.25, "val/loss") == "0.25"
    assert said(0.25, "val/accuracy") == "25.0"


async def test_an_extension_by_nothing_is_refused(pace: Pace) -> None:
    assert "say what to add" in (await pace("study", "extend", "study_1")).told
