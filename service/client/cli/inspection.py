"""Preview of a run's data: asked of the core, where the data lie on this machine."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from pace_core.spec.benchmarks import find_task
from pace_core.spec.data_report import DataReport
from pace_core.spec.recipes import merged
from service.client import Client, JobRequest, StudyRequest, SuiteRequest
from service.client.cli.output import cell, failed, print_table, print_text, table

R = TypeVar("R", JobRequest, StudyRequest, SuiteRequest)
_SHOWN = 20  # classes


class Inspection(BaseModel):
    """The part of `python -m pace_core inspect --json` that is shown here."""

    data: DataReport
    warnings: list[str]
    steps_per_epoch: int
    epochs: int
    steps: int
    memory_bytes: int | None


def inspected(client: Client, spec: Mapping[str, Any]) -> Inspection | None:
    """Returns classes, images and steps; None where the service is not this machine's, or the core not installed.

    Ends the command where the run itself would fail for its data.
    """
    if not client.address.expected or importlib.util.find_spec("torch") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.json"
        file.write_text(json.dumps(dict(spec)), "utf-8")
        asked = [sys.executable, "-m", "pace_core", "inspect", str(file), "--json"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise failed(" ".join(done.stderr.split()))
    return Inspection.model_validate_json(done.stdout)


def with_images(client: Client, request: R, specs: Iterable[Mapping[str, Any]]) -> R:
    """Returns the request saying how many images of the user's own its specs have, the most of all.

    Ends the command where a run would fail for its data. Nothing is added where the service is not this machine's, the
    core is not installed, or the spec says it itself or is of a benchmark, whose images are known.
    """
    images: dict[str, int] = {}
    for spec in specs:
        task, resources = _section(spec, "task"), _section(spec, "resources")
        if find_task(str(task.get("name"))) or resources.get("images") or not _exists(task.get("path")):
            continue  # a path that leads nowhere is a fault of the submission itself
        if found := inspected(client, spec):
            images |= {split: max(count, images.get(split, 0)) for split, count in found.data.images.items()}
    more = {"resources": {"images": images}} if images else {}
    return request.model_copy(update={"overrides": merged(request.overrides, more)})


def _exists(path: Any) -> bool:
    try:
        return isinstance(path, str) and Path(path).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _section(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    given = spec.get(name)
    return cast(Mapping[str, Any], given) if isinstance(given, Mapping) else {}


def print_inspection(found: Inspection) -> None:
    """Prints images by class and split, what is passed over, and the steps."""
    data = found.data
    splits = list(data.images)
    shown = table("|class", *(f">{split}" for split in splits))
    for one in data.per_class[:_SHOWN]:
        shown.add_row(cell(one.name), *(f"{one.images.get(split, 0):,}" for split in splits))
    left = data.classes - min(len(data.per_class), _SHOWN)
    if data.per_class and left > 0:
        shown.add_row(f"and {left:,} more", *("" for _ in splits))
    shown.add_row(f"all {data.classes:,}", *(f"{data.images[split]:,}" for split in splits))
    print_table(shown)
    for one in data.passed_over:
        print_text(f"passed over: {one.count:,} ({one.why}), such as {', '.join(one.examples[:1])}")
    for warning in found.warnings:
        print_text(f"warning: {warning}")
    print_text(f"{found.steps:,} steps: {found.epochs:,} epochs of {found.steps_per_epoch:,}")
