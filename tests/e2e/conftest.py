"""What the end-to-end tests train on: little enough for seconds, long enough to be killed in the middle."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import image_folder
from tests.stack import History, Stack

BATCH_SIZE = 4  # of the long run


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "colours", per_class=40)


@pytest.fixture(scope="session")
def quick(images: Path) -> dict[str, Any]:
    """One epoch of linear probing on 64 images of 32 pixels: a fraction of a second."""
    return {
        "task": {"name": "colours", "source": "image_folder", "path": str(images)},
        "backbone": {"name": "pace_vit_mini", "image_size": 32},
        "method": {"name": "linear"},
        "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 32},
    }


@pytest.fixture(scope="session")
def long(quick: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of PACE, 16 steps each: a few seconds, with a checkpoint every fifth step."""
    return quick | {
        "method": {"name": "lora_mul_vpt_add", "rank": 4},
        "regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1},
        "training": {"epochs": 3, "warmup_epochs": 1, "batch_size": BATCH_SIZE, "checkpoint_every_steps": 5},
    }


@pytest.fixture(scope="session")
def undisturbed(stack: Stack, long: dict[str, Any]) -> History:
    """The long run as it goes when nothing happens to it."""
    history = stack.submit(long, name="undisturbed").ended()
    assert history.job.state == "succeeded", history.job.message
    return history
