"""GLUE as it is distributed: a folder a task with TSV files, or the hub's parquet files.

TSV: CoLA/train.tsv and dev.tsv, as the benchmark's site has them, read without quoting. Parquet:
cola/train-00000-of-00001.parquet and validation-…. The labels of the test splits are not public, so a run trains on
train and measures on dev.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from pace_core.data._listing import in_one_message
from pace_core.data._splits import Metric, Phase
from pace_core.data._tables import Columns, checked_sample, read_tsv
from pace_core.data._texts import Sample, Texts, text_source
from pace_core.data._where import home_of
from pace_core.roots import data_path
from pace_core.spec import ParamsModel, RunError
from pace_core.spec.text import brief
from pace_core.tokenization import SCORE

_NOT = ("entailment", "not_entailment")
_ACCEPTABLE, _EQUIVALENT = ("unacceptable", "acceptable"), ("not_equivalent", "equivalent")
_STRINGS = ("#1 String", "#2 String")


@dataclass(frozen=True, kw_only=True)
class Task(Columns):
    """A task's files and columns."""

    folder: str
    """Of the TSV files; the parquet files lie in the one called as the task."""
    sentences: tuple[str, ...]
    """Columns of the parquet files, whose labels are numbers."""
    metric: Metric = "accuracy"
    dev: str = "dev"
    """Stem of the TSV file that is measured on."""
    validation: str = "validation"
    """The same of the parquet file."""


_ONE, _TWO, _QUESTION = ("sentence",), ("sentence1", "sentence2"), ("question", "sentence")
TASKS = {
    "cola": Task(
        folder="CoLA",
        sentences=_ONE,
        columns=("3",),
        label="1",
        class_names=_ACCEPTABLE,
        metric="matthews",
    ),
    "sst2": Task(folder="SST-2", sentences=_ONE, columns=_ONE, label="label", class_names=("negative", "positive")),
    "mrpc": Task(
        folder="MRPC",
        sentences=_TWO,
        columns=_STRINGS,
        label="Quality",
        class_names=_EQUIVALENT,
    ),
    "stsb": Task(folder="STS-B", sentences=_TWO, columns=_TWO, label="score", class_names=(SCORE,), metric="pearson"),
    "qnli": Task(folder="QNLI", sentences=_QUESTION, columns=_QUESTION, label="label", class_names=_NOT, named=True),
    "rte": Task(folder="RTE", sentences=_TWO, columns=_TWO, label="label", class_names=_NOT, named=True),
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
        list(read_tsv(home / task.folder / f"{tsv}.tsv", task, faults))
        if (home / task.folder / "train.tsv").exists()
        else list(_parquet(_parquet_file(home, params.task, task, stem), task, faults))
        for tsv, stem in (("train", "train"), (task.dev, task.validation))
    ]
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    train, dev = splits
    return Texts(train, dev, task.class_names, task.metric)


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
        yield from checked_sample(
            sentences, row["label"], row["label"], task, f"{file.parent.name}/{file.name} row {number}", faults
        )


SOURCE = text_source(
    name="glue",
    title="GLUE",
    doc=__doc__,
    params=Params,
    paper="Wang et al., ICLR 2019, arXiv 1804.07461",
    read=read,
    phases=("search",),
)
