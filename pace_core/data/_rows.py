"""Rows of image, label and split, as tables and shards have them: their classes, and what a phase uses of them."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pace_core.data import _files
from pace_core.data._listing import Listed, Listing, cut, in_one_message
from pace_core.data._splits import Phase
from pace_core.passed_over import Passed
from pace_core.spec import RunError

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "validation": "val", "valid": "val", "eval": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class CutParams(_files.UserParams):
    """Parameters of sources that cut a test split out where there is none."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class's images to test on, where nothing says which those are."""


@dataclass(frozen=True)
class Row:
    """One row as written."""

    path: Path
    label: str
    split: str
    origin: str
    content: Callable[[], bytes] | None = None
    """As in Listed."""


def listing_of(
    rows: list[Row],
    params: _files.UserParams,
    *,
    phase: Phase,
    num_classes: int | None,
    where: str,
    passed: Passed,
    class_names: Sequence[str] | None = None,
    cut_test: bool = False,
) -> Listing:
    """Returns what the phase uses of the rows; labels are numbers of `class_names` where these are given.

    `cut_test`: a share of every class is set aside to test on, in a search too. Raises RunError with all faulty labels
    at once.
    """
    names = tuple(class_names or ())
    if not names:
        names = _class_names([row.label for row in rows if row.split == "train"], num_classes, where)
    if class_names:
        _files.check_num_classes(num_classes, len(names), where)
        index = {str(number): number for number in range(len(names))}
    else:
        index = {name: label for label, name in enumerate(names)}
    faults = [_label_fault(row, names, numbers=bool(class_names)) for row in rows if row.label not in index]
    if faults and {row.label for row in rows} == {str(label) for label in range(1, len(names) + 1)}:
        faults.append(f"the labels seem to count from 1 (1..{len(names)}); write them from 0")
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    parts: dict[str, list[Listed]] = {"train": [], "val": [], "test": []}
    for row in rows:
        parts[row.split].append(Listed(row.path, index[row.label], row.origin, row.content))
    if cut_test and isinstance(params, CutParams):
        parts["train"], parts["test"] = cut(parts["train"], params.test_fraction, params.split_seed)
    return _files.of_phase(phase, parts["train"], parts["val"], parts["test"], names, passed, params)


def split_of(words: Iterable[str]) -> str | None:
    """Returns the split that one of the words names, such as those of a file's name; None where none does."""
    return next((SPLIT_WORDS[word.lower()] for word in words if word.lower() in SPLIT_WORDS), None)


def label_text(value: object) -> str:
    """Returns a label as it is compared: names in one Unicode form, numbers as digits."""
    return unicodedata.normalize("NFC", str(value)).strip()


def _class_names(train_labels: list[str], num_classes: int | None, path: str) -> tuple[str, ...]:
    names = sorted(set(train_labels))
    if len(names) < 2:
        raise RunError(
            "data_corrupt", f"{path}: the training rows have {len(names)} different labels; at least two are needed"
        )
    if _numbers(names):
        highest = max(map(int, names))
        if num_classes is None and len(names) != highest + 1:
            if min(map(int, names)) == 1 and len(names) == highest:
                problem = f"the labels count from 1 (1..{highest}); write them from 0, or as names such as class 1"
            else:
                problem = f"the labels are numbers, but not all of 0..{highest} occur; set task.num_classes"
            raise RunError("data_corrupt", f"{path}: {problem}")
        return tuple(str(label) for label in range(num_classes or len(names)))
    _files.check_num_classes(num_classes, len(names), path)
    return tuple(names)


def _numbers(names: Iterable[str]) -> bool:
    """Whether these are class numbers; `001` is a name."""
    return all(name.isdecimal() and len(name) < 10 and str(int(name)) == name for name in names)


def _label_fault(row: Row, class_names: tuple[str, ...], numbers: bool) -> str:
    if numbers or _numbers(class_names):
        return f"{row.origin}: label {row.label!r} is out of range 0..{len(class_names) - 1}"
    return f"{row.origin}: label {row.label!r} is not one of the {len(class_names)} classes of the training rows"
