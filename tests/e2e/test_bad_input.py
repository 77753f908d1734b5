"""What a user gets wrong ends as a clear error that names field or file, and harms no other job."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import image_folder, image_list
from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def corrupt_image(folder: Path) -> tuple[dict[str, Any], str]:
    bad = image_folder(folder / "colours", per_class=6) / "red" / "003.png"
    bad.write_bytes(bad.read_bytes()[:60])
    return {"task": {"name": "torn", "source": "image_folder", "path": str(folder / "colours")}}, str(bad)


def missing_folder(folder: Path) -> tuple[dict[str, Any], str]:
    return {"task": {"name": "nowhere", "source": "image_folder", "path": str(folder / "nowhere")}}, "task.path"


def label_out_of_range(folder: Path) -> tuple[dict[str, Any], str]:
    root = image_folder(folder / "colours", per_class=6)
    listed = image_list(folder / "labels.csv", root, ["0", "1", "0", "0", "7", "1", "0", "1", "1"])
    task = {"name": "seven", "source": "csv", "path": str(listed), "split_column": "split", "num_classes": 2}
    return {"task": task}, "labels.csv line 6: label '7' is out of range 0..1"


def absurd_learning_rate(folder: Path) -> tuple[dict[str, Any], str]:
    root = image_folder(folder / "colours", per_class=12)
    return {
        "task": {"name": "hot", "source": "image_folder", "path": str(root)},
        "method": {"name": "lora_add", "rank": 4},
        "optimizer": {"lr": 1e12},
    }, "optimizer.lr"


def class_that_is_not_utf8(folder: Path) -> tuple[dict[str, Any], str]:
    root = image_folder(folder / "colours", per_class=6)
    os.rename(root / "blue", os.fsencode(root) + b"/Pl\xe4tze")
    os.rename(root / "red" / "000.png", os.fsencode(root / "red") + b"/Pl\xe4tze.png")
    return {"task": {"name": "latin-1", "source": "image_folder", "path": str(root)}}, "Pl\\xe4tze"


def the_workers_own_environment(_: Path) -> tuple[dict[str, Any], str]:
    return {"task": {"name": "spy", "source": "csv", "path": "/proc/self/environ"}}, "task.path: /proc/self/environ"


def a_file_outside_of_the_data_roots(_: Path) -> tuple[dict[str, Any], str]:
    return {"task": {"name": "spy", "source": "csv", "path": "/etc/passwd"}}, "PACE_DATA_ROOTS"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (the_workers_own_environment, "data_missing"),
        (a_file_outside_of_the_data_roots, "data_missing"),
        (corrupt_image, "data_corrupt"),
        (missing_folder, "data_missing"),
        (label_out_of_range, "data_corrupt"),
        (absurd_learning_rate, "nan"),
        (class_that_is_not_utf8, "data_corrupt"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bad_input_is_named_and_the_same_worker_takes_the_next_job(
    stack: Stack, quick: dict[str, Any], tmp_path: Path, bad: Any, reason: str
) -> None:
    wrong, named = bad(tmp_path)
    job = stack.submit(quick | wrong)
    worker = job.worker()
    history = job.ended()
    history.check_order()
    assert (history.job.state, history.job.reason, history.job.attempt) == ("failed", reason, 1)
    assert named in history.job.message
    assert "pace_" not in history.job.message, "no key"

    after = [stack.submit(quick | {"seed": seed}) for seed in (1, 2)]
    assert worker in [job.worker() for job in after]
    assert [job.ended().job.state for job in after] == ["succeeded", "succeeded"]
