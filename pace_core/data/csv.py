"""A CSV or TSV file of image paths and labels, with a column that says the split, or one file a split.

Labels that are all plain numbers are class numbers from 0 and stay as they are; others (`cat`, `001`) are class names,
taken from the training rows in code-point order. Without validation rows, a part of each class's training rows serves.
"""

import csv
import io
from pathlib import Path
from typing import Any

from pace_core.data import _files
from pace_core.data._listing import Listing, in_one_message, text
from pace_core.data._rows import SPLIT_WORDS, Row, label_text, listing_of
from pace_core.data._splits import Phase
from pace_core.passed_over import Passed
from pace_core.remote import beside, located
from pace_core.spec import RunError
from pace_core.spec.text import shown
from pace_core.urls import is_url


class Params(_files.UserParams):
    """Files and columns of the table."""

    path: str
    """File with a header line, or its URL: all rows if it has a split column, else the training rows. A .tsv has
    tabs."""
    val_path: str | None = None
    """File of the validation rows."""
    test_path: str | None = None
    """File of the test rows; it is not opened in a search."""
    root: str | None = None
    """Folder, or its URL, from which the image paths count; each file's own folder where None."""
    path_column: str = "path"
    """Column of the image paths."""
    label_column: str = "label"
    """Column of the labels."""
    split_column: str | None = None
    """Column that says train, val or test."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase; in a search it opens no file of test rows.

    Raises RunError with all faulty rows at once, each with file and line.
    """
    return listing(params, params, phase=phase, num_classes=num_classes)


def listing(
    table: Params, how: _files.UserParams, *, phase: Phase, num_classes: int | None, cut_test: bool = False
) -> Listing:
    """Does what `listed` does, cutting splits as `how` says; `cut_test` cuts a test split too where no row is of it."""
    rows = _rows(table, table.path, "path", "train")
    if table.val_path:
        rows += _rows(table, table.val_path, "val_path", "val")
    if table.test_path and phase == "final":
        rows += _rows(table, table.test_path, "test_path", "test")
    passed = Passed()
    cut_test = cut_test and not table.test_path and not any(row.split == "test" for row in rows)
    if phase == "search":
        for row in rows:
            if row.split == "test":
                passed.add(_files.CLOSED, row.path, class_name=row.label, split="test")
        rows = [row for row in rows if row.split != "test"]
    elif not cut_test and not any(row.split == "test" for row in rows):
        raise RunError(
            "data_missing",
            f"{table.path}: there are no test rows; give test_path or split_column, or run phase search",
        )
    said: dict[str, Any] = {"phase": phase, "num_classes": num_classes, "where": table.path, "passed": passed}
    return listing_of(rows, how, **said, cut_test=cut_test)


def _rows(params: Params, given: str, field: str, split: str) -> list[Row]:
    """The file's rows, all of one split unless there is a split column."""
    file = Path(located(given, field)).expanduser()
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
    home = params.root or (given.rpartition("/")[0] if is_url(given) else str(file.parent))
    root = Path(home).expanduser()
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
        name = said[params.path_column].replace("\\", "/")
        content = beside(home, name, "root" if params.root else field) if is_url(home) else None
        rows.append(Row(root / name, label_text(said[params.label_column]), row_split, origin, content))
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


SOURCE = _files.file_source(
    name="csv",
    title="CSV of paths and labels",
    doc=__doc__,
    params=Params,
    listed=listed,
)
