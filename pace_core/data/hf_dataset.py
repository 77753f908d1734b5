"""A data set of HF `datasets` saved on disk by `save_to_disk`: one split, or several below dataset_dict.json.

Splits called train, validation and test are these; of a data set that is one split, or has no test split, test and val
images are cut out of every class by fraction. The library itself is not needed.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pace_core.data import _files
from pace_core.data._columns import ColumnParams, class_names_of, columns, rows_of
from pace_core.data._listing import Listing, folder, in_one_message, text
from pace_core.data._rows import Row, listing_of, split_of
from pace_core.data._shards import has_test, of_phase
from pace_core.data._splits import Phase
from pace_core.passed_over import Passed
from pace_core.roots import data_path
from pace_core.spec import RunError


class Params(ColumnParams):
    """Location of the data set, and its columns."""

    path: str
    """Folder that `save_to_disk` wrote, or its URL."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the images of the phase by the labels alone; in a search no file of the test split is opened."""
    root = folder(params.path, "path")
    passed, rows, faults, names = Passed(), list[Row](), list[str](), dict[tuple[str, ...], Path]()
    found = _splits(root)
    for split, home in of_phase(found, phase):
        features = _json(home / "dataset_info.json").get("features")
        for file in _tables(home):
            table = _table(file)
            image, label = columns(params, table.schema, str(file))
            names.setdefault(class_names_of(features, label), home)
            cell = partial(_cell, table.column(image))
            rows += rows_of(file, table.column(label).to_pylist(), split, cell, passed, faults)
    if len(names) > 1:
        raise RunError("data_corrupt", f"task.path: {' and '.join(map(str, names.values()))} name other classes")
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    if not rows:
        raise RunError("data_missing", f"task.path: {root} has no row with a label")
    names_of_classes, cut_test = next(iter(names)), not has_test(found)
    given: dict[str, Any] = {"phase": phase, "num_classes": num_classes, "where": params.path, "passed": passed}
    return listing_of(rows, params, **given, class_names=names_of_classes, cut_test=cut_test)


def _splits(root: Path) -> list[tuple[str, Path]]:
    if not data_path(root / "dataset_dict.json").exists():
        return [("train", root)]
    said = _json(root / "dataset_dict.json").get("splits")
    found: dict[str, Path] = {}
    for name in said if isinstance(said, list) else []:
        split = split_of([str(name)])
        if split is None or split in found:
            why = "is the second of its kind" if split else "is not one of train, validation, test"
            raise RunError("data_corrupt", f"task.path: split {name!r} of {root} {why}; save a data set without it")
        found[split] = root / str(name)
    if "train" not in found:
        raise RunError("data_missing", f"task.path: {root} has no split train")
    return list(found.items())


def _tables(home: Path) -> list[Path]:
    state = _json(home / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        message = f"task.path: {home} is a selection of rows of other files; save data_set.flatten_indices() instead"
        raise RunError("data_corrupt", message)
    files = state.get("_data_files")
    names = [each.get("filename") for each in files if isinstance(each, dict)] if isinstance(files, list) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise RunError("data_corrupt", f"task.path: {home / 'state.json'} names no files of the data set")
    return [home / name for name in names]


def _json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(text(file, "task.path"))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise RunError("data_corrupt", f"task.path: {file} is no JSON object; copy the data set again")
    return said


def _table(file: Path) -> pa.Table:
    """The file's rows, which stay on disk until they are read."""
    try:
        with pa.ipc.open_stream(pa.memory_map(str(data_path(file, "task.path")))) as reader:
            table = reader.read_all()
        table.validate(full=True)  # who wrote it may be anybody: no offset leads out of the file
        return table
    except FileNotFoundError:
        raise RunError("data_missing", f"task.path: there is no file {file} on this machine") from None
    except (pa.ArrowException, OSError) as error:
        message = f"task.path: {file} cannot be read as an arrow file ({str(error).splitlines()[0]}); copy it again"
        raise RunError("data_corrupt", message) from None


def _cell(column: pa.ChunkedArray, number: int) -> Any:
    return column[number].as_py()


SOURCE = _files.file_source(
    name="hf_dataset",
    title="HF data set saved on disk",
    doc=__doc__,
    params=Params,
    listed=listed,
)
