"""The bundled tasks: pictures drawn from formulas, real handwritten digits and fonts; the same on every machine.

800 images of 64 pixels to train on, 200 to choose by, 1,000 to test on, like VTAB-1K. Every picture has its own seed,
made of task, split and number, so that no split depends on another; classes are as equally frequent as sizes allow.
"""

import hashlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, field_validator

from pace_core import registry
from pace_core.data import _vtab_mini
from pace_core.data._source import Source
from pace_core.data._splits import ImageSet, Phase, Splits
from pace_core.data._vtab_mini._task import Task
from pace_core.preprocessing import Preprocessing
from pace_core.spec import ParamsModel, Reporter, RunError
from pace_core.spec.data_report import DataReport

SIZES = {"train": 800, "val": 200, "test": 1000}
TASKS = registry.load(_vtab_mini, Task)


class Params(ParamsModel):
    """One of the bundled tasks, and how much of it to train on."""

    task: str = Field(json_schema_extra={"enum": [*sorted(TASKS)]})
    """Name of the bundled task, such as `digits`."""
    train_images: int | None = Field(default=None, ge=10, le=1000)
    """Train on the first so many of the images to train on; on all 1,000 (800 in a search) where null."""

    @field_validator("task")
    @classmethod
    def _known(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"{task!r} is not one of {', '.join(sorted(TASKS))}")
        return task


def load(
    params: Params, *, phase: Phase, num_classes: int | None, preprocessing: Preprocessing, reporter: Reporter
) -> Splits:
    """Draws the task's pictures, which takes seconds; sizes other than 64 are resized from it."""
    class_names = TASKS[params.task].class_names
    if num_classes not in (None, len(class_names)):
        raise RunError("spec_invalid", f"task.num_classes: {params.task} has {len(class_names)}, not {num_classes}")
    names = ("train", "val") if phase == "search" else ("train", "val", "test")
    sets: dict[str, ImageSet] = {}
    for name in names:
        images, labels = pictures(params.task, name)
        sets[name] = ImageSet(
            torch.from_numpy(np.stack([preprocessing.resized(Image.fromarray(image)) for image in images])),
            torch.from_numpy(labels),
        )
        done, total = sum(map(len, sets.values())), sum(SIZES[n] for n in names)
        reporter.event("progress", {"stage": "data", "done": done, "total": total})
    train = sets["train"] if phase == "search" else sets["train"].joined(sets["val"])
    train = ImageSet(train.images[: params.train_images], train.labels[: params.train_images])
    report = survey(params, phase=phase, num_classes=num_classes)
    return Splits(train, sets.get("val") if phase == "search" else None, sets.get("test"), class_names, report)


def survey(params: Params, *, phase: Phase, num_classes: int | None = None) -> DataReport:
    """Reports how many pictures a run would use."""
    classes, measured = len(TASKS[params.task].class_names), "val" if phase == "search" else "test"
    train = SIZES["train"] if phase == "search" else SIZES["train"] + SIZES["val"]
    used = min(train, params.train_images or train)
    joined = max(0, used - SIZES["train"])
    return DataReport(classes=classes, images={"train": used, measured: SIZES[measured]}, from_validation=joined)


def fingerprint(params: Params, *, phase: Phase, num_classes: int | None = None) -> str:
    """Returns the SHA-256 of what determines the pictures: task, version of its generator, sizes of its splits."""
    return hashlib.sha256(f"vtab-mini {params.task} {TASKS[params.task].version} {SIZES}".encode()).hexdigest()


@lru_cache(maxsize=9)  # a warm worker trains many jobs on the same tasks; 12 MB a split
def pictures(task: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draws a split's images [N, 64, 64, 3] and labels [N]."""
    classes = len(TASKS[task].class_names)
    labels = generator(task, split, "labels").permutation(np.arange(SIZES[split], dtype=np.int64) % classes)
    images = [TASKS[task].draw(int(y), split, generator(task, split, i)) for i, y in enumerate(labels)]
    return np.round(np.clip(np.stack(images), 0, 1) * 255).astype(np.uint8), labels


def generator(task: str, split: str, number: int | str) -> np.random.Generator:
    """Returns the generator of one picture, or of a split's order of labels."""
    seed = hashlib.sha256(f"vtab-mini {task} {split} {number}".encode()).digest()[:16]
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed, "little")))


SOURCE = Source(
    name="vtab_mini",
    title="VTAB mini",
    doc=__doc__,
    params=Params,
    load=load,
    survey=survey,
    fingerprint=fingerprint,
)
