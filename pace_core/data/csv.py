"""A CSV or TSV file of image paths and labels, with a column that says the split, or one file a split.

Labels that are all plain numbers are class numbers from 0 and stay as they are; others (`cat`, `001`) are class names,
taken from the training rows in code-point order. Without validation rows, a part of each class's training rows serves.
"""

import csv
import io
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pace_core.data import _files
from pace_core.data._listing import Listed, Listing, in_one_message, text
from pace_core.data._splits import Phase
from pace_core.passed_over import Passed
from pace_core.spec import RunError
from pace_core.spec.text import shown

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "validation": "val", "valid": "val", "eval": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Params(_files.UserParams):
    """Files and columns of the table."""

    path: str
    """File with a header line: all rows if it has a split column, else the training rows. A .tsv has tabs."""
    val_path: str | None = None
    """File of the validation rows."""
    test_path: str | None = None
    """File of the test rows; it is not opened in a search."""
    root: str | None = None
    """Folder from which the image paths count; each file's own folder where None."""
    path_column: str = "path"
    """Column of the image paths."""
    label_column: str = "label"
    """Column of the labels."""
    split_column: str | None = None
    """Column that says train, val or test."""


@dataclass(frozen=True)
class Row:
    """One row as written."""

    path: Path
    label: str
    split: str
    origin: str


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase; in a search it opens no file of test rows.

    Raises RunError with all faulty rows at once, each with file and line.
    """
    rows = _rows(params, Path(params.path), "path", "train")
    if params.val_path:
        rows += _rows(params, Path(params.val_path), "val_path", "val")
    if params.test_path and phase == "final":
        rows += _rows(params, Path(params.test_path), "test_path", "test")
    passed = Passed()
    if phase == "search":
        for row in rows:
            if row.split == "test":
                passed.add(_files.CLOSED, row.path, class_name=row.label, split="test")
        rows = [row for row in rows if row.split != "test"]
    elif not any(row.split == "test" for row in rows):
        raise RunError(
            "data_missing",
            f"{params.path}: there are no test rows; give test_path or split_column, or run phase search",
        )
    class_names = _class_names([row.label for row in rows if row.split == "train"], num_classes, params.path)
    index = {name: label for label, name in enumerate(class_names)}
    faults = [_label_fault(row, class_names) for row in rows if row.label not in index]
    if faults and {row.label for row in rows} == {str(label) for label in range(1, len(class_names) + 1)}:
        faults.append(f"the labels seem to count from 1 (1..{len(class_names)}); write them from 0")
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    parts: dict[str, list[Listed]] = {"train": [], "val": [], "test": []}
    for row in rows:
        parts[row.split].append(Listed(row.path, index[row.label], row.origin))
    return _files.of_phase(phase, parts["train"], parts["val"], parts["test"], class_names, passed, params)


def _rows(params: Params, file: Path, field: str, split: str) -> list[Row]:
    """The file's rows, all of one split unless there is a split column."""
    file = file.expanduser()
    content = text(file, f"task.{field}")
    reader = csv.reader(io.StringIO(content), delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        message = f"{file} line {reader.line_num}: this is not CSV ({error}); is a quotation mark not closed?"
        raise RunError("data_corrupt", message) from None
    header = [name.strip() for name in lines[0][1]] if lines else []
    if not any(header):
        raise RunError("data_corrupt", f"{file} is empty; its first line must name the columns")
    wanted = [params.path_column, params.label_column, *([params.split_column] if params.split_column else [])]
    if absent := [column for column in wanted if column not in header]:
        raise RunError("data_corrupt", f"{file} line 1: {_column_fault(header, absent, content.splitlines()[0], file)}")
    if twice := [column for column in wanted if header.count(column) > 1]:
        raise RunError("data_corrupt", f"{file} line 1: more than one column is called {', '.join(twice)}")
    root = Path(params.root).expanduser() if params.root else file.parent
    rows, faults = [], []
    for number, cells in lines[1:]:
        if not cells:
            continue  # a blank line
        origin = f"{file.name} line {number}"
        if len(cells) != len(header):
            faults.append(f"{origin}: has {len(cells)} values for {len(header)} columns")
            continue
        said = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        if empty := [column for column in wanted if not said[column]]:
            faults.append(f"{origin}: has no {' and no '.join(empty)}")
            continue
        row_split = SPLIT_WORDS.get(said[params.split_column].lower()) if params.split_column else split
        if row_split is None:
            faults.append(f"{origin}: split {said[params.split_column or '']!r} is not one of train, val, test")
            continue
        rows.append(
            Row(
                root / said[params.path_column].replace("\\", "/"),
                unicodedata.normalize("NFC", said[params.label_column]),
                row_split,
                origin,
            )
        )
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    if not rows:
        raise RunError("data_missing", f"{file} has no rows below its header")
    return rows


def _column_fault(header: list[str], absent: list[str], line: str, file: Path) -> str:
    """What to do about columns that are not there: another separator, other names."""
    for name, separator in (("semicolons", ";"), ("tabs", "\t"), ("commas", ","), ("vertical bars", "|")):
        parts = [part.strip(' "') for part in line.split(separator)]
        if len(header) < len(parts) and set(absent) <= set(parts):
            kind = "tabs, as its ending .tsv says" if file.suffix.lower() == ".tsv" else "commas"
            other = ", or give it the ending .tsv" if separator == "\t" else ""
            return f"the columns are separated by {name}; save the file with {kind}{other}"
    alike = {column.casefold(): column for column in header}
    hints = [f"{alike[column.casefold()]} for {column}" for column in absent if column.casefold() in alike]
    hint = f" (did you mean {', '.join(hints)}?)" if hints else ""
    columns = shown(", ".join(header), 500)
    cure = "name yours in path_column, label_column and split_column"
    return f"has the columns {columns}, not {', '.join(absent)}{hint}; {cure}"


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


def _label_fault(row: Row, class_names: tuple[str, ...]) -> str:
    if _numbers(class_names):
        return f"{row.origin}: label {row.label!r} is out of range 0..{len(class_names) - 1}"
    return f"{row.origin}: label {row.label!r} is not one of the {len(class_names)} classes of the training rows"


SOURCE = _files.file_source(
    name="csv",
    title="CSV of paths and labels",
    doc=__doc__,
    params=Params,
    listed=listed,
)
