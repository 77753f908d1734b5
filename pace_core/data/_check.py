"""Check of a machine's part of a benchmark: per task what is missing, misnamed, of another number, or unreadable."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pace_core.csv_text import csv_text
from pace_core.data._listing import Listed, Listing
from pace_core.data._source import Source
from pace_core.data._threads import in_order
from pace_core.decoding import decode
from pace_core.preprocessing import Preprocessing
from pace_core.spec import Benchmark, BenchmarkTask, RunError
from pace_core.spec.data_report import DataReport

_SAMPLE = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_NAMED = 10


@dataclass
class Checked:
    """The outcome for one task."""

    task: str
    images: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """A run would fail, or mean something else."""
    warnings: list[str] = field(default_factory=list)
    """A run would go through; its number may not be comparable."""


def check(
    benchmark: Benchmark, source_of: Callable[[str], Source[Any]], path: str | None, sample: int
) -> Iterator[Checked]:
    """Yields the outcome of each task: lists read whole, files looked for, `sample` of each split decoded."""
    for task in benchmark.trained:
        yield _check(benchmark, task, source_of(task.source), path, sample)


def _check(benchmark: Benchmark, task: BenchmarkTask, source: Source[Any], path: str | None, sample: int) -> Checked:
    found = Checked(task.name)
    given = {**task.params, **({} if path is None else {"path": path})}
    for draw in range(benchmark.draws):
        params = source.params.model_validate({**given, **({"draw": draw} if benchmark.draws > 1 else {})})
        for phase in source.phases:
            try:
                if source.listed is None:
                    _count(found, task, source.survey(params, phase=phase, num_classes=task.num_classes))
                    continue
                listing = source.listed(params, phase=phase, num_classes=task.num_classes)
            except RunError as error:
                found.faults += error.message.splitlines()
                continue
            _look(found, task, listing, "val" if phase == "search" else "test", sample)
    if source.others is not None:
        _look_at_others(found, benchmark, source.others, source.params.model_validate(given), sample)
    if task.pitfall and (found.faults or found.warnings):
        found.warnings.append(task.pitfall)
    found.faults, found.warnings = (list(dict.fromkeys(said)) for said in (found.faults, found.warnings))
    return found


def _count(found: Checked, task: BenchmarkTask, report: DataReport) -> None:
    """Of samples that are in no files of their own, and have all been read by now."""
    for split, count in report.images.items():
        found.images[split] = count
        _compare(found, split, count, task.images.get(split), report.unit)


def _look(found: Checked, task: BenchmarkTask, listing: Listing, measured: str, sample: int) -> None:
    trained = "train+val" if listing.from_validation else "train"
    for split, entries in ((trained, listing.train), (measured, listing.measured)):
        count = len(entries)
        found.images[split] = count
        _look_at(found, split, entries, sample)
        _compare(found, split, count, task.images.get(split))
        missing = task.num_classes - len({entry.label for entry in entries})
        if split != "val" and missing:
            found.warnings.append(f"{split}: {missing} of the {task.num_classes} classes have no image")
    names = [entry.path for entry in listing.train]
    if twice := len(names) - len(set(names)):
        found.warnings.append(f"train: {twice} images are listed twice")
    if both := len(set(names) & {entry.path for entry in listing.measured}):
        found.faults.append(f"{both} images are listed in train and in {measured}")


def _look_at_others(
    found: Checked, benchmark: Benchmark, others: Callable[..., dict[str, list[Listed]]], params: Any, sample: int
) -> None:
    try:
        listed = others(params)
    except RunError as error:
        found.faults += error.message.splitlines()
        return
    for name, entries in listed.items():
        found.images[name] = len(entries)
        _look_at(found, name, entries, sample)
        task = benchmark.task(name)
        _compare(found, name, len(entries), task.images.get("test") if task else None)
        if task and task.pitfall and any(line.startswith(f"{name}:") for line in found.faults + found.warnings):
            found.warnings.append(task.pitfall)


def _compare(found: Checked, split: str, count: int, expected: int | None, unit: str = "images") -> None:
    if expected is not None and count != expected:
        found.warnings.append(f"{split}: {count:,} {unit}, the published numbers are of {expected:,}")


def _look_at(found: Checked, split: str, entries: list[Listed], sample: int) -> None:
    gone = [entry for entry in entries if not entry.path.is_file()]
    if gone:
        more = f" and {len(gone) - _NAMED:,} more" if len(gone) > _NAMED else ""
        names = ", ".join(str(entry.path) for entry in gone[:_NAMED])
        found.faults.append(f"{split}: {len(gone):,} of {len(entries):,} files are missing: {names}{more}")
    there = [entry for entry in entries if entry.path.is_file()]
    step = max(1, len(there) // sample) if sample else 1
    for fault in in_order(_undecodable, there[::step][:sample]):
        if fault:
            found.faults.append(f"{split}: {fault}")


def _undecodable(entry: Listed) -> str | None:
    try:
        decode(entry.path, _SAMPLE)
    except RunError as error:
        return f"{entry.origin}: {error.message}"
    return None


def as_csv(found: Sequence[Checked]) -> str:
    """Returns a row a task and split, with the task's faults and warnings."""
    rows = [
        (one.task, split, count, "; ".join(one.faults), "; ".join(one.warnings))
        for one in found
        for split, count in (one.images or {"": ""}).items()
    ]
    return csv_text(("task", "split", "images", "faults", "warnings"), rows)
