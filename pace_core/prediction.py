"""Requests and answers of `predict`: files, folders or texts in, lines, JSON or CSV out. Loads no torch."""

import json
import os
import stat
import sys
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
    """The likeliest classes of one image or text, the first the likeliest, or why there are none."""

    path: str
    """Of an image; a text itself."""
    classes: tuple[tuple[str, float], ...] = ()
    """Name and probability."""
    error: str | None = None
    score: float | None = None
    """In the place of classes, where the adapter was trained on scores."""
    reply: str | None = None
    """In their place, what a language model writes."""


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


def texts_of(given: Sequence[str], lines: str | None) -> list[str]:
    """Returns the texts given and those of a file, one a line; `-` is standard input.

    Raises RunError `data_missing` for a file that cannot be read, and where a text is blank.
    """
    texts = [*given]
    if lines is not None:
        try:
            content = sys.stdin.read() if lines == "-" else Path(lines).expanduser().read_text("utf-8-sig")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError("data_missing", f"--lines: {escaped(lines)} cannot be read ({why})") from error
        texts += content.splitlines()
    if blank := sum(not text.strip() for text in texts):
        raise RunError("data_missing", f"{blank} of {len(texts)} texts are blank; leave them out")
    if not texts:
        raise RunError("data_missing", "give texts, or --lines FILE with one a line")
    return texts


def as_notes(passed: Passed) -> Iterator[str]:
    """Yields what is passed over, a line a reason."""
    for one in passed.by_reason():
        example = f", such as {escaped(one.examples[0])}" if one.examples else ""
        yield f"passed over: {one.count:,} {one.why}{example}"


def as_lines(answers: Iterable[Answer]) -> Iterator[str]:
    r"""Yields `path <tab> class <tab> 97.3 %` for every image predicted; a line break in a name is written `\n`."""
    for answer in answers:
        if answer.error is None:
            scores = [] if answer.score is None else [f"{answer.score:.4f}"]
            scores += [] if answer.reply is None else [escaped(answer.reply)]
            said = (f"{escaped(name)}\t{percent(probability):.1f} %" for name, probability in answer.classes)
            yield "\t".join([escaped(answer.path), *scores, *said])


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


def texts_as_json(answers: Sequence[Answer]) -> str:
    """Returns {texts: [{text, classes: [{name, percent}], score, reply}]} as JSON."""
    texts = [
        {
            "text": answer.path,
            "classes": [{"name": name, "percent": round(percent(p), 2)} for name, p in answer.classes],
            "score": answer.score,
            "reply": answer.reply,
        }
        for answer in answers
    ]
    return json.dumps({"texts": texts}, indent=1)


def texts_as_csv(answers: Sequence[Answer]) -> str:
    """Returns a CSV table with a row a text and class; of scores, a row a text."""
    if any(answer.score is not None for answer in answers):
        return csv_text(("text", "score"), ((answer.path, f"{answer.score:.6f}") for answer in answers))
    if any(answer.reply is not None for answer in answers):
        return csv_text(("text", "reply"), ((answer.path, answer.reply) for answer in answers))
    rows = (
        (answer.path, place, name, f"{percent(probability):.2f}")
        for answer in answers
        for place, (name, probability) in enumerate(answer.classes, start=1)
    )
    return csv_text(("text", "place", "class", "percent"), rows)


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
