"""GSM8K, grade-school problems with worked answers: train.jsonl and test.jsonl, or the hub's main/…parquet.

A line of JSON is a question and an answer, whose last line is `#### ` and the final number.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from pace_core.chat import Chat
from pace_core.data._listing import in_one_message, text
from pace_core.data._source import Source
from pace_core.data._splits import Phase, ProblemSet, Splits, TextSet
from pace_core.data._where import home_of
from pace_core.final_number import marked_number
from pace_core.roots import data_path
from pace_core.spec import ParamsModel, Reporter, RunError
from pace_core.spec.data_report import DataReport
from pace_core.spec.text import brief

INSTRUCTION = "Answer below question. First think step-by-step and then answer the final number:\n\n"
"""The paper's, appendix G."""
_VAL = 500
Problem = tuple[str, str]
"""Question and worked answer."""


class Params(ParamsModel):
    """Location of the benchmark, and how its problems are put and measured."""

    path: str | None = None
    """Folder on the worker's machine with train.jsonl and test.jsonl, or main/train-….parquet; where that machine says
    its data lies (`pace data add`, PACE_DATA) where None."""
    shots: int = Field(default=0, ge=0, le=32)
    """Training problems with their answers that stand before each question; the first ones."""
    new_tokens: int = Field(default=512, ge=1, le=8192)
    """Tokens of the longest answer that is written."""
    train_samples: int | None = Field(default=None, ge=1)
    """Train on the first so many problems; on all where None."""
    measured_samples: int | None = Field(default=None, ge=1)
    """Measure on the first so many; on all where None, as the published rows do."""


def read(params: Params, phase: Phase) -> tuple[list[Problem], list[Problem]]:
    """Returns the problems to train on and to measure on. A search measures on 500 training problems, the same always.

    Raises RunError with all faulty lines at once.
    """
    home, faults = home_of(params.path, "gsm8k"), list[str]()
    train = list(_problems(home, "train", faults))
    if phase == "final":
        measured = list(_problems(home, "test", faults))
    else:
        drawn = sorted(train, key=lambda one: hashlib.sha256(one[0].encode()).hexdigest())
        measured = drawn[: min(_VAL, len(train) // 5)]
        kept = set(measured)
        train = [one for one in train if one not in kept]
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    return train[: params.train_samples], measured[: params.measured_samples]


def load(params: Params, *, phase: Phase, num_classes: int | None, preprocessing: Chat, reporter: Reporter) -> Splits:
    """Loads the phase's problems as tokens; in a search the test file is not opened."""
    train, measured = read(params, phase)
    if not train or not measured:
        raise RunError("data_missing", "task: there are no problems to train on, or none to measure on")
    before = "".join(f"{question}\n{answer}\n\n" for question, answer in train[: params.shots])
    asked = [f"{INSTRUCTION}{before}{question}" for question, _ in measured]
    dialogues = [(f"{INSTRUCTION}{before}{question}", answer) for question, answer in train]
    tokens, labels, cut = preprocessing.encode(dialogues)
    if cut:
        message = f"{cut:,} of {len(train):,} problems are longer than {preprocessing.max_length} tokens and are cut"
        reporter.event("log", {"level": "warning", "message": message})
    answers = [marked_number(answer) for _, answer in measured]
    held = ProblemSet(tuple(asked), tuple(str(answer) for answer in answers), params.new_tokens)
    return Splits(
        train=TextSet(tokens, labels),
        val=held if phase == "search" else None,
        test=held if phase == "final" else None,
        class_names=("answer",),
        report=_report(train, measured, phase),
        measured_names=tuple(question for question, _ in measured),
        metric="exact_match",
        unit="problem",
    )


def survey(params: Params, *, phase: Phase, num_classes: int | None = None) -> DataReport:
    """Counts the problems."""
    return _report(*read(params, phase), phase)


def fingerprint(params: Params, *, phase: Phase, num_classes: int | None = None) -> str:
    """Returns the SHA-256 of all problems and answers."""
    return hashlib.sha256(json.dumps(read(params, phase)).encode()).hexdigest()


def _report(train: list[Problem], measured: list[Problem], phase: Phase) -> DataReport:
    split = "val" if phase == "search" else "test"
    return DataReport(classes=1, images={"train": len(train), split: len(measured)}, unit="problems")


def _problems(home: Path, split: str, faults: list[str]) -> Iterator[Problem]:
    files = sorted((home / "main").glob(f"{split}-*.parquet"))
    if (home / f"{split}.jsonl").exists() or not files:
        yield from _of_jsonl(home / f"{split}.jsonl", faults)
        return
    for file in files:
        try:
            rows = pq.read_table(data_path(file, "task.path"), columns=["question", "answer"]).to_pylist()
        except Exception as error:  # what a broken file raises differs by where it is broken
            faults.append(f"{file.name} cannot be read: {str(error).splitlines()[0]}")
            continue
        for number, row in enumerate(rows):
            yield from _problem(row, f"{file.name} row {number}", faults)


def _of_jsonl(file: Path, faults: list[str]) -> Iterator[Problem]:
    for number, line in enumerate(text(file, f"task.path: {file.name}").splitlines(), start=1):
        if not line.strip():
            continue
        origin = f"{file.name} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            faults.append(f"{origin}: is no JSON")
            continue
        yield from _problem(row, origin, faults)


def _problem(row: Any, origin: str, faults: list[str]) -> Iterator[Problem]:
    said = [row.get(name) for name in ("question", "answer")] if isinstance(row, Mapping) else [None, None]
    question, answer = said
    if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
        faults.append(f"{origin}: has no question and answer, but {brief(row)}")
    elif marked_number(answer) is None:
        faults.append(f"{origin}: the answer has no `#### ` with a number")
    else:
        yield question.strip(), answer.strip()


SOURCE = Source(
    name="gsm8k",
    title="GSM8K",
    doc=__doc__,
    params=Params,
    paper="Cobbe et al. 2021, arXiv 2110.14168",
    load=load,
    survey=survey,
    fingerprint=fingerprint,
    gives="problems",
)
