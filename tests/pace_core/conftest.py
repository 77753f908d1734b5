"""A data set of a few small pictures, and specs of runs over it that take a second."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pace_core.spec import RunSpec

TINY = {"name": "pace_vit_mini", "image_size": 16}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes in train, val and test: the dominant colour, under noise."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 4), ("test", 5)):
        for label, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3))
                pixels[..., label] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def make_spec(pictures: Path) -> Callable[..., RunSpec]:
    """A spec over the pictures; `section__field=value` changes a field, `section={…}` adds to a section."""

    def make(**changes: Any) -> RunSpec:
        raw: dict[str, Any] = {
            "task": {"name": "colours", "source": "image_folder", "path": str(pictures), "phase": "search"},
            "backbone": dict(TINY),
            "method": {"name": "lora_mul_vpt_add", "rank": 4},
            "regularizer": {"name": "none"},
            "optimizer": {"lr": 0.01},
            "training": {
                "epochs": 2,
                "batch_size": 6,
                "warmup_epochs": 0.5,
                "schedule": "step",
                "drop_path": 0.1,
                "eval_every": 1,
                "checkpoint_every_steps": 2,
            },
        }
        for key, value in changes.items():
            section, _, field = re.sub("__", ".", key, count=1).partition(".")
            if field:
                raw.setdefault(section, {})[field] = value
            elif isinstance(value, dict) and "name" not in value:
                raw.setdefault(section, {}).update(value)
            else:
                raw[section] = value
        return RunSpec.model_validate(raw)

    return make
