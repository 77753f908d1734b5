"""Requests and answers of `predict`: files and folders in, lines, JSON or CSV out. Loads no torch."""

import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pace_core.csv_text import csv_text
from pace_core.image_walk import walk
from pace_core.passed_over import Passed
from pace_core.spec import RunError
from pace_core.spec.text import escaped, valid_unicode


@dataclass(frozen=True)
class Answer:
    """The likeliest classes of one image, the first the likeliest, or why there are none."""

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    """Name and probability."""
    error: str | None = None


def image_files(paths: Iterable[str], passed: Passed) -> Iterator[str | Answer]:
    """Yields the files named, and those in the folders named and below that end as an image does; faults as answers.

    What else is in the folders is counted in `passed`. Links are followed, a folder that a link leads back to is read
    once.
    """
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as error:
            yield Answer(path, error=f"{escaped(path)} cannot be opened ({getattr(error, 'strerror', None) or error})")
            continue
        if stat.S_ISDIR(mode):
            yield from _of_folder(path, passed)
        elif stat.S_ISREG(mode):
            yield path
        else:
            yield Answer(path, error=f"{escaped(path)} is neither a file nor a folder")


def _of_folder(folder: str, passed: Passed) -> Iterator[str | Answer]:
    unlisted: list[RunError] = []
    found = False
    for file in walk(Path(folder), passed.add, unlisted):
        found = True
        yield str(file)
    for error in unlisted:
        yield Answer(folder, error=error.message)
    if not found and not unlisted:
        yield Answer(folder, error=f"{escaped(folder)} is a folder without images; name files of other endings")


def as_notes(passed: Passed) -> Iterator[str]:
    """Yields what is passed over, a line a reason."""
    for one in passed.by_reason():
        example = f", such as {escaped(one.examples[0])}" if one.examples else ""
        yield f"passed over: {one.count:,} {one.why}{example}"


def as_lines(answers: Iterable[Answer]) -> Iterator[str]:
    r"""Yields `path <tab> class <tab> 97.3 %` for every image predicted; a line break in a name is written `\n`."""
    for answer in answers:
        if answer.error is None:
            said = (f"{escaped(name)}\t{percent(probability):.1f} %" for name, probability in answer.classes)
            yield "\t".join([escaped(answer.path), *said])


def as_json(answers: Sequence[Answer], passed: Passed) -> str:
    r"""Returns {images: [{path, classes: [{name, percent}], error}], passed_over: [{why, count, examples}]} as JSON.

    A byte of a name that is not UTF-8 is written `\udcXX`.
    """
    images = [
        {
            "path": answer.path,
            "classes": [{"name": name, "percent": round(percent(p), 2)} for name, p in answer.classes],
            "error": answer.error,
        }
        for answer in answers
    ]
    said = {"images": images, "passed_over": [one.model_dump() for one in passed.by_reason()]}
    return json.dumps(said, indent=1)


def as_csv(answers: Iterable[Answer]) -> str:
    r"""Returns a CSV table with a row an image and class; a byte of a name that is not UTF-8 is written `\xXX`."""
    rows = (
        (valid_unicode(answer.path), place, valid_unicode(name), f"{percent(probability):.2f}")
        for answer in answers
        for place, (name, probability) in enumerate(answer.classes, start=1)
    )
    return csv_text(("path", "place", "class", "percent"), rows)


def percent(probability: float) -> float:
    """Returns a probability out of 100."""
    return 100 * probability
