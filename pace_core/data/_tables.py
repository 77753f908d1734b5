"""Sentences and labels out of TSV files without quoting, as GLUE has them."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pace_core.data._listing import text
from pace_core.data._texts import Sample
from pace_core.spec.text import brief
from pace_core.tokenization import SCORE


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of a task's files, and its labels."""

    columns: tuple[str, ...]
    """Of the sentences; of files without a header, the number of each."""
    label: str
    """Column of the label."""
    class_names: tuple[str, ...]
    """In the order of their numbers; `score` alone where labels are scores."""
    named: bool = False
    """Whether the files have names as labels instead of numbers."""
    scores: tuple[float, float] = (0, 5)
    """Lowest and highest score."""


def read_tsv(file: Path, task: Columns, faults: list[str]) -> Iterator[Sample]:
    """Yields the samples of a file; appends what is wrong with it to `faults`, with file and line."""
    lines = io.StringIO(text(file, f"task.path: {file.parent.name}/{file.name}"), newline="\n")
    rows = (line.rstrip("\r\n").split("\t") for line in lines)
    header: Sequence[str] | None = None
    if not task.columns[0].isdecimal():
        header = [name.strip() for name in next(rows, [])]
        if absent := [name for name in (*task.columns, task.label) if name not in header]:
            faults.append(f"{file} line 1: has no column {', '.join(absent)}, but {brief(header)}")
            return
    places = [int(name) if header is None else header.index(name) for name in (*task.columns, task.label)]
    for number, cells in enumerate(rows, start=1 if header is None else 2):
        origin = f"{file.parent.name}/{file.name} line {number}"
        if cells == [""]:
            continue
        if len(cells) <= max(places):
            faults.append(f"{origin}: has {len(cells)} columns, and {max(places) + 1} are needed")
            continue
        *sentences, label = (cells[place].strip() for place in places)
        said = (task.class_names.index(label) if label in task.class_names else -1) if task.named else label
        yield from checked_sample(tuple(sentences), said, label, task, origin, faults)


def checked_sample(
    sentences: tuple[str, ...], label: Any, written: Any, task: Columns, origin: str, faults: list[str]
) -> Iterator[Sample]:
    """Yields the sample, or appends what is wrong with it to `faults`; `written`: the label as the file has it."""
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = float("nan")
    scored = task.class_names == (SCORE,)
    low, high = task.scores
    known = low <= value <= high if scored else value in range(len(task.class_names))
    if not known:
        allowed = (
            f"a score of {low:g} to {high:g}"
            if scored
            else f"one of {', '.join(task.class_names)}, or its number from 0"
        )
        faults.append(f"{origin}: label {brief(written)} is not {allowed}")
    elif not all(sentences):
        faults.append(f"{origin}: a sentence is empty")
    else:
        yield Sample(sentences, value)
