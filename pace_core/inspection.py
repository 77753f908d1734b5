"""Preview of a run's data and number of steps, without opening an image or a network."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from pace_core.csv_text import csv_text
from pace_core.data import table, warnings_of
from pace_core.spec import RunSpec, estimate, load_catalogue
from pace_core.spec.data_report import DataReport
from pace_core.stage import source_of


class Inspection(BaseModel):
    """The answer of a dry run on the machine that has the data."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    task: str
    phase: str
    data: DataReport
    """Classes, images per class and split, and what is passed over; `duplicates` is None, since no file is read."""
    warnings: list[str]
    """Such as classes with one image, or two that differ in capitals only."""
    steps_per_epoch: int
    epochs: int
    steps: int
    """Of the whole training, without a supernet's."""
    memory_bytes: int | None
    """Peak memory of the run with so many images; None where the backbone's sizes are not known."""


def inspect(spec: RunSpec) -> Inspection:
    """Raises RunError with what the run itself would say of its data, as far as its files need not be opened."""
    source, params = source_of(spec)
    report: DataReport = source.survey(params, phase=spec.task.phase, num_classes=spec.task.num_classes)
    train = report.images["train"]
    per_epoch = train // min(spec.training.batch_size, train) if train else 0
    return Inspection(
        task=spec.task.name,
        phase=spec.task.phase,
        data=report,
        warnings=warnings_of(report),
        steps_per_epoch=per_epoch,
        epochs=spec.training.epochs,
        steps=per_epoch * spec.training.epochs,
        memory_bytes=estimate(spec, load_catalogue(), images=report.images, device=_device(spec)).memory_bytes,
    )


def _device(spec: RunSpec) -> Literal["cpu", "cuda"]:
    """Where this machine would run it."""
    return "cuda" if spec.resources.device != "cpu" and torch.cuda.is_available() else "cpu"


def as_text(found: Inspection) -> str:
    """Returns the table of the data, the warnings and the steps as lines of text."""
    memory = "" if found.memory_bytes is None else f", about {found.memory_bytes / 2**30:.1f} GiB of memory"
    steps = f"{found.steps_per_epoch:,} steps an epoch, {found.epochs:,} epochs, {found.steps:,} steps{memory}"
    return "\n".join([table(found.data), *(f"warning: {warning}" for warning in found.warnings), steps])


def as_csv(found: Inspection) -> str:
    """Returns a row a class: its images of each split, and what is passed over of it, by split and reason."""
    splits = list(found.data.images)
    rows = [
        (
            one.name,
            *(one.images.get(split, 0) for split in splits),
            "; ".join(f"{n} {why} ({split})" for split, whys in one.left_out.items() for why, n in whys.items()),
        )
        for one in found.data.per_class
    ]
    return csv_text(("class", *splits, "passed_over"), rows)
