"""GLUE as it is distributed: a folder a task with TSV files, or the hub's parquet files.

TSV: CoLA/train.tsv and dev.tsv, as the benchmark's site has them, read without quoting. Parquet:
cola/train-00000-of-00001.parquet and validation-…. The labels of the test splits are not public, so a run trains on
train and measures on dev.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from pace_core.data._listing import in_one_message, text
from pace_core.data._splits import Metric, Phase
from pace_core.data._texts import Sample, Texts, text_source
from pace_core.data._where import home_of
from pace_core.roots import data_path
from pace_core.spec import ParamsModel, RunError
from pace_core.spec.text import brief
from pace_core.tokenization import SCORE

_NOT = ("entailment", "not_entailment")


@dataclass(frozen=True)
class Task:
    """A task's files and columns."""

    folder: str
    """Of the TSV files; the parquet files lie in the one called as the task."""
    sentences: tuple[str, ...]
    """Columns of the parquet files."""
    columns: tuple[str, ...]
    """The same columns in the TSV files; of files without a header, the number of each."""
    label: str
    """Column of the label in the TSV files."""
    class_names: tuple[str, ...]
    """In the order of the parquet files' numbers."""
    named: bool = False
    """Whether the TSV files have names as labels instead of numbers."""
    metric: Metric = "accuracy"
    dev: str = "dev"
    """Stem of the TSV file that is measured on."""
    validation: str = "validation"
    """The same of the parquet file."""


_ONE, _TWO = ("sentence",), ("sentence1", "sentence2")
TASKS = {
    "cola": Task("CoLA", _ONE, ("3",), "1", ("unacceptable", "acceptable"), metric="matthews"),
    "sst2": Task("SST-2", _ONE, _ONE, "label", ("negative", "positive")),
    "mrpc": Task("MRPC", _TWO, ("#1 String", "#2 String"), "Quality", ("not_equivalent", "equivalent")),
    "stsb": Task("STS-B", _TWO, _TWO, "score", (SCORE,), metric="pearson"),
    "qnli": Task("QNLI", ("question", "sentence"), ("question", "sentence"), "label", _NOT, named=True),
    "rte": Task("RTE", _TWO, _TWO, "label", _NOT, named=True),
    "mnli": Task(
        folder="MNLI",
        sentences=("premise", "hypothesis"),
        columns=_TWO,
        label="gold_label",
        class_names=("entailment", "neutral", "contradiction"),
        named=True,
        dev="dev_matched",
        validation="validation_matched",
    ),
}


class Params(ParamsModel):
    """Location of the benchmark, and one of its tasks."""

    path: str | None = None
    """Folder on the worker's machine that holds the tasks' folders, such as /data/glue; where that machine says its
    data lies (`pace data add`, PACE_DATA) where None."""
    task: str = Field(json_schema_extra={"enum": [*TASKS]})
    """Name of the task, such as `cola`."""


def read(params: Params, *, phase: Phase) -> Texts:
    """Reads the task's training and dev samples. Raises RunError with all faulty lines at once."""
    task = TASKS.get(params.task)
    if task is None:
        raise RunError("spec_invalid", f"task.task: GLUE has no task {brief(params.task)}; it has {', '.join(TASKS)}")
    home = home_of(params.path, "glue")
    faults: list[str] = []
    splits = [
        list(_tsv(home / task.folder / f"{tsv}.tsv", task, faults))
        if (home / task.folder / "train.tsv").exists()
        else list(_parquet(_parquet_file(home, params.task, task, stem), task, faults))
        for tsv, stem in (("train", "train"), (task.dev, task.validation))
    ]
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    train, dev = splits
    return Texts(train, dev, task.class_names, task.metric)


def _tsv(file: Path, task: Task, faults: list[str]) -> Iterator[Sample]:
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
        yield from _sample(tuple(sentences), said, label, task, origin, faults)


def _parquet_file(home: Path, name: str, task: Task, stem: str) -> Path:
    found = sorted((home / name).glob(f"{stem}-*.parquet"))
    if len(found) == 1:
        return data_path(found[0], "task.path")
    if found:
        raise RunError("data_corrupt", f"task.path: {home / name} has {len(found)} files {stem}-*.parquet, not one")
    message = f"{home} has neither {task.folder}/train.tsv nor {name}/{stem}-00000-of-00001.parquet"
    raise RunError("data_missing", f"task.path: {message}")


def _parquet(file: Path, task: Task, faults: list[str]) -> Iterator[Sample]:
    columns = [*task.sentences, "label"]
    try:
        rows: list[Mapping[str, Any]] = pq.read_table(file, columns=columns).to_pylist()
    except Exception as error:  # what a broken file raises differs by where it is broken
        faults.append(f"{file} cannot be read with columns {', '.join(columns)}: {str(error).splitlines()[0]}")
        return
    for number, row in enumerate(rows):
        sentences = tuple(str(row[name] or "").strip() for name in task.sentences)
        yield from _sample(
            sentences, row["label"], row["label"], task, f"{file.parent.name}/{file.name} row {number}", faults
        )


def _sample(
    sentences: tuple[str, ...], label: Any, written: Any, task: Task, origin: str, faults: list[str]
) -> Iterator[Sample]:
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = -1.0
    scored = task.class_names == (SCORE,)
    known = 0 <= value <= 5 if scored else value in range(len(task.class_names))
    if not known:
        allowed = "a score of 0 to 5" if scored else f"one of {', '.join(task.class_names)}, or its number from 0"
        faults.append(f"{origin}: label {brief(written)} is not {allowed}")
    elif not all(sentences):
        faults.append(f"{origin}: a sentence is empty")
    else:
        yield Sample(sentences, value)


SOURCE = text_source(
    name="glue",
    title="GLUE",
    doc=__doc__,
    params=Params,
    paper="Wang et al., ICLR 2019, arXiv 1804.07461",
    read=read,
    phases=("search",),
)
