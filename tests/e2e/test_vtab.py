"""A whole row of VTAB-1K through the service, on fixtures; and a search that never sees a test split."""

import statistics
from pathlib import Path
from typing import Any

import pytest

from pace_core.spec import load_benchmarks, load_published
from service.client import Dimension, StudyRequest, SuiteRequest
from tests.pace_core.data.writing import write_vtab_task
from tests.stack import Stack, until

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

BENCHMARK = load_benchmarks()["vtab-1k"]
LABELS = {"train800": [0, 1] * 4, "val200": [0, 1], "train800val200": [0, 1] * 5, "test": [0, 1, 1, 0]}


@pytest.fixture(scope="module")
def vtab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vtab-1k")
    for task in BENCHMARK.tasks:
        write_vtab_task(root / task.name, LABELS)
    return root


@pytest.fixture(scope="module")
def small(vtab: Path) -> dict[str, Any]:
    """An epoch of the network that ships, with random weights."""
    return {
        "task": {"path": str(vtab)},
        "backbone": {"name": "pace_vit_mini", "weights": "none", "image_size": 32},
        "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
    }


def test_a_row_of_vtab_1k_ends_with_its_table_beside_the_published_one(
    stack: Stack, vtab: Path, small: dict[str, Any]
) -> None:
    asked = SuiteRequest(name="row", benchmark="vtab-1k", rows=["PACE"], overrides=small)
    suite = stack.client.suites.submit(asked)
    ended = until(lambda: (now := stack.client.suites.get(suite.id)).ended_at and now, "the row has run", within_s=800)
    assert (ended.state, ended.counts) == ("succeeded", {"succeeded": 19})

    board = stack.client.leaderboard("vtab-1k")
    row = next(row for row in board.rows if row.kind == "measured")
    assert (row.label, len(row.cells), row.mean.complete) == ("PACE", 19, True)
    for group in board.groups:
        values = [row.cells[task].mean for task in group.tasks]
        assert row.groups[group.name].value == pytest.approx(statistics.fmean(values))
    assert row.mean.value == pytest.approx(statistics.fmean(mean.value for mean in row.groups.values()))
    assert any("another protocol: backbone" in note for note in row.notes), "it is not the paper's network"
    printed = next(row for row in load_published()["vtab-1k"].rows if row.label == "PACE")
    assert {task: cell.published for task, cell in row.cells.items()} == pytest.approx(
        {task: value / 100 for task, value in printed.values.items()}
    )
    beside = [other.label for other in board.rows if other.source == "PACE, NeurIPS 2024, Table 1"]
    assert beside == [other.label for other in load_published()["vtab-1k"].rows]
    said = [
        event.data["message"] for event in stack.client.jobs.events(row.cells["kitti"].jobs[0]) if event.type == "log"
    ]
    assert any("kitti: test.txt has 4 images, the published numbers are over 711" in line for line in said)


def test_a_search_works_with_the_test_split_gone_and_the_final_run_says_what_it_lacks(
    stack: Stack, tmp_path: Path, small: dict[str, Any]
) -> None:
    home = write_vtab_task(tmp_path / "kitti", LABELS)
    for name in ("test", "train800val200"):
        (home / f"{name}.txt").unlink()
        for image in (home / "images" / name).iterdir():
            image.unlink()
    spec = small | {
        "task": {"name": "vtab-1k/kitti", "path": str(tmp_path)},
        "method": {"name": "lora_add", "rank": 2},
    }
    space = {"optimizer.lr": Dimension(choice=[0.001, 0.01])}
    study = stack.client.studies.submit(StudyRequest(name="no test", spec=spec, space=space, seeds=[0]))
    ended = until(lambda: (now := stack.client.studies.get(study.id)).ended_at and now, "it has ended", within_s=600)
    trials = stack.client.studies.trials(study.id)
    assert [rung.state for trial in trials for rung in trial.rungs] == ["succeeded", "succeeded"]
    assert ended.best is not None
    (final,) = stack.client.jobs.list(suite=ended.suite)
    assert (final.state, final.reason) == ("failed", "data_missing")
    assert "train800val200.txt" in final.message
