"""Columns of images and labels, as parquet files and HF data sets on disk have them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pace_core.data._rows import CutParams, Row, label_text
from pace_core.passed_over import Passed
from pace_core.roots import data_path
from pace_core.spec import RunError
from pace_core.spec.text import shown

_IMAGE_NAMES = ("image", "img", "jpg", "png", "webp")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "cls")


class ColumnParams(CutParams):
    """Names of the columns."""

    image_column: str | None = None
    """Column of the images: bytes, or bytes and path as HF data sets have them, or paths; found by its usual names
    where None."""
    label_column: str | None = None
    """Column of the labels: names, or numbers from 0; found by its usual names where None."""


def columns(params: ColumnParams, schema: pa.Schema, where: str) -> tuple[str, str]:
    """Returns the columns of images and labels. Raises RunError that names those that there are."""

    def one(given: str | None, usual: tuple[str, ...], field: str) -> str:
        found = [given] if given is not None else [name for name in usual if name in schema.names][:1]
        if not found or found[0] not in schema.names:
            what = f"no column {given!r}" if given is not None else f"none of the columns {', '.join(usual)}"
            there = shown(", ".join(schema.names), 500)
            raise RunError("data_corrupt", f"task.{field}: {where} has {what}; it has {there}: name one of those")
        return found[0]

    image = one(params.image_column, _IMAGE_NAMES, "image_column")
    label = one(params.label_column, _LABEL_NAMES, "label_column")
    kind = schema.field(label).type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        message = f"is of type {kind}; labels are whole numbers or names"
        raise RunError("data_corrupt", f"task.label_column: column {label!r} of {where} {message}")
    return image, label


def class_names_of(features: object, label: str) -> tuple[str, ...]:
    """Returns the names of a ClassLabel column out of a data set's features; none where it is no such column."""
    said: Any = features.get(label) if isinstance(features, dict) else None
    names = said.get("names") if isinstance(said, dict) and said.get("_type") == "ClassLabel" else None
    whole = isinstance(names, list) and len(set(map(str, names))) == len(names)
    return tuple(label_text(name) for name in names) if whole else ()


def features_in(schema: pa.Schema) -> object:
    """Returns the HF features in a schema's metadata; None where it has none."""
    said = (schema.metadata or {}).get(b"huggingface")
    try:
        return json.loads(said)["info"]["features"] if said else None
    except (ValueError, KeyError, TypeError):
        return None


def rows_of(
    file: Path, labels: list[Any], split: str, cell: Callable[[int], Any], passed: Passed, faults: list[str]
) -> list[Row]:
    """Returns a row for each label of a file; `cell` reads the image's value by its number, when it is needed."""
    rows: list[Row] = []
    for number, label in enumerate(labels):
        name = f"{file.name} row {number}"
        if label == -1 and not isinstance(label, bool):
            passed.add("hidden label (-1)", name, split=split)
        elif label is None:
            faults.append(f"{name}: has no label")
        else:
            content = partial(_bytes, file, number, cell)
            rows.append(Row(file / f"row {number}", label_text(label), split, name, content))
    return rows


def _bytes(file: Path, number: int, cell: Callable[[int], Any]) -> bytes:
    """The image's bytes: the value itself, its `bytes`, or those of the file that its `path` names beside the table."""
    value = cell(number)
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise RunError("data_corrupt", f"{file.name} row {number}: there is no image, but {type(value).__name__}")
    path = file.parent / value
    try:
        return data_path(path).read_bytes()
    except OSError as error:
        raise RunError("data_missing", f"{file.name} row {number}: {path} cannot be read ({error.strerror})") from None
