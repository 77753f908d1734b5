"""Our own small benchmark of texts: sentences of movie reviews, and what twenty people thought of each.

The sentences and ratings are those of Hutto & Gilbert (ICWSM 2014), which the source distribution of vaderSentiment
holds; `python -m pace_core data make text-mini` writes them as TSV files, as GLUE has them, in splits that are fixed.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pydantic import Field

from pace_core.data._listing import in_one_message
from pace_core.data._splits import Metric, Phase
from pace_core.data._tables import Columns, read_tsv
from pace_core.data._texts import Texts, text_source
from pace_core.data._where import home_of
from pace_core.spec import ParamsModel, RunError
from pace_core.tokenization import SCORE

PACKAGE = "vaderSentiment-3.3.2.tar.gz"
HOW = "pip download --no-deps --no-binary :all: vaderSentiment==3.3.2"
_ARCHIVE, _RATINGS = "hutto_ICWSM_2014.tar.gz", "movieReviewSnippets_GroundTruth.txt"
_SHA256 = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
VAL, TEST = 1000, 2000
TASKS: dict[str, tuple[Columns, Metric]] = {
    "sentiment": (Columns(columns=("sentence",), label="label", class_names=("negative", "positive")), "accuracy"),
    "rating": (Columns(columns=("sentence",), label="score", class_names=(SCORE,), scores=(-4, 4)), "pearson"),
}
"""sentiment: rated above 1 or below -1. rating: the mean of all ratings, from -4 to 4."""


class Params(ParamsModel):
    """Location of the benchmark, one of its tasks, and how much of it to train on."""

    path: str | None = None
    """Folder on the worker's machine that holds the tasks' folders; where that machine says its data lies (`pace data
    add`, PACE_DATA) where None."""
    task: str = Field(json_schema_extra={"enum": [*TASKS]})
    """sentiment, which has two classes, or rating, which has scores."""
    train_samples: int | None = Field(default=None, ge=10)
    """Train on the first so many, such as 100, 300 or 1000, of which as many are negative as positive; on all where
    None."""


def read(params: Params, *, phase: Phase) -> Texts:
    """Reads the phase's samples; in a search no test file is opened. Raises RunError with all faulty lines at once."""
    if params.task not in TASKS:
        raise RunError("spec_invalid", f"task.task: text-mini has no task {params.task!r}; it has {', '.join(TASKS)}")
    columns, metric = TASKS[params.task]
    home, faults = home_of(params.path, "text-mini") / params.task, list[str]()
    names = ("train", "val") if phase == "search" else ("train", "test")
    train, measured = (list(read_tsv(home / f"{name}.tsv", columns, faults)) for name in names)
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    if params.train_samples is not None and params.train_samples > len(train):
        raise RunError("spec_invalid", f"task.train_samples: there are {len(train):,}, not {params.train_samples:,}")
    return Texts(train[: params.train_samples], measured, columns.class_names, metric)


def make(package: Path, folder: Path) -> dict[str, int]:
    """Writes the TSV files of both tasks out of the source distribution; returns how many sentences each has.

    Raises RunError `data_missing` or `data_corrupt` for another package.
    """
    return write(_ratings(package), folder)


def write(ratings: str, folder: Path) -> dict[str, int]:
    """Does the same with the text of the file of ratings."""
    rated = sorted(_rated(ratings), key=lambda pair: _place(pair[0]))
    sides = [[pair for pair in rated if pair[1] > 1], [pair for pair in rated if pair[1] < -1]]
    # any beginning has as many of one side as of the other, to one
    told = [pair for both in zip(*sides, strict=False) for pair in both]
    counts: dict[str, int] = {}
    for task, pairs in (("sentiment", told), ("rating", rated)):
        kept = {"test": pairs[:TEST], "val": pairs[TEST : TEST + VAL], "train": pairs[TEST + VAL :]}
        for split, rows in kept.items():
            lines = [
                f"{text}\t{score:.6g}" if task == "rating" else f"{text}\t{int(score > 0)}" for text, score in rows
            ]
            file = folder / task / f"{split}.tsv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([f"sentence\t{TASKS[task][0].label}", *lines]) + "\n", "utf-8", newline="\n")
        counts[task] = len(pairs)
    return counts


def _ratings(package: Path) -> str:
    try:
        with tarfile.open(package) as outer:
            inner = next(member for member in outer if member.name.endswith(f"/{_ARCHIVE}"))
            content = outer.extractfile(inner)
            assert content is not None
            with tarfile.open(fileobj=BytesIO(content.read())) as archive:
                file = archive.extractfile(next(member for member in archive if member.name.endswith(f"/{_RATINGS}")))
                assert file is not None
                ratings = file.read()
    except FileNotFoundError:
        raise RunError("data_missing", f"there is no file {package}; download it: {HOW}") from None
    except (OSError, tarfile.TarError, StopIteration, AssertionError) as error:
        raise RunError(
            "data_corrupt", f"{package} is not the source distribution {PACKAGE}; download it: {HOW}"
        ) from error
    if hashlib.sha256(ratings).hexdigest() != _SHA256:
        raise RunError("data_corrupt", f"{_RATINGS} in {package} is another than that of {PACKAGE}; download it: {HOW}")
    return ratings.decode("utf-8", "replace")


def _rated(ratings: str) -> Iterator[tuple[str, float]]:
    """Sentences and the means of their ratings, each sentence once."""
    seen: set[str] = set()
    for line in ratings.splitlines():
        _, score, sentence = line.split("\t", 2)
        sentence = " ".join(sentence.split())
        if sentence and sentence not in seen:
            seen.add(sentence)
            yield sentence, float(score)


def _place(sentence: str) -> str:
    """An order that has nothing to do with content, the same on every machine."""
    return hashlib.sha256(f"text-mini {sentence}".encode()).hexdigest()


SOURCE = text_source(
    name="text_mini",
    title="text-mini",
    doc=__doc__,
    params=Params,
    paper="Hutto & Gilbert, ICWSM 2014",
    read=read,
)
