"""WebDataset shards: .tar files in which the files of one name are one sample, such as 000.jpg and 000.cls.

A sample's label is its .cls file (a number from 0, or a name), or a field of its .json. Shards whose names or folders
say train, val or test are these splits; otherwise test and val images are cut out of every class by fraction. Nothing
is unpacked: images are read where they lie in the shard.
"""

import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

from pace_core.data import _files
from pace_core.data._listing import Listing, in_one_message
from pace_core.data._rows import CutParams, Row, label_text, listing_of
from pace_core.data._shards import by_split, has_test, here, of_phase, shards
from pace_core.data._splits import Phase
from pace_core.image_formats import endings
from pace_core.passed_over import Passed
from pace_core.roots import data_path
from pace_core.spec import RunError
from pace_core.spec.text import shown

_LONGEST_LABEL = 2**20


class Params(CutParams):
    """Location of the shards, and where labels stand."""

    path: str
    """A .tar file, a pattern such as /data/train-{0000..0009}.tar, or a folder of shards; or the URL of one
    of these."""
    val_path: str | None = None
    """Shards of the validation images."""
    test_path: str | None = None
    """Shards of the test images; they are not opened in a search."""
    label_field: str = "label"
    """Field of a sample's .json that is its label, where it has no .cls."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the images of the phase; in a search no shard of the test split is opened.

    Raises RunError with all samples at once that have no label.
    """
    passed, rows, faults = Passed(), list[Row](), list[str]()
    path = here(params.path, "path")
    found = by_split(shards(path, ".tar", "path"), Path(path).expanduser())
    if params.val_path:
        found += [("val", file) for file in shards(here(params.val_path, "val_path"), ".tar", "val_path")]
    if params.test_path and phase == "final":
        found += [("test", file) for file in shards(here(params.test_path, "test_path"), ".tar", "test_path")]
    for split, file in of_phase(found, phase):
        rows += _rows(file, split, params.label_field, passed, faults)
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    if not rows:
        raise RunError("data_missing", f"task.path: the shards of {params.path} hold no image with a label")
    cut_test = params.test_path is None and not has_test(found)
    given: dict[str, Any] = {"phase": phase, "num_classes": num_classes, "where": params.path, "passed": passed}
    return listing_of(rows, params, **given, cut_test=cut_test)


def _rows(file: Path, split: str, field: str, passed: Passed, faults: list[str]) -> list[Row]:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(data_path(file, "task.path"), "r:") as shard:
            for member in shard:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key, kind = f"{folder}/{stem}", ending.lower()
                if member.isdir() or not stem:
                    continue
                if not member.isreg() or member.sparse:
                    passed.add("link or device in a shard", f"{file}/{member.name}", split=split)
                elif kind in ("cls", "json"):
                    said = _label(shard, member, kind, field)
                    if said is not None and (kind == "cls" or key not in labels):
                        labels[key] = said
                elif f".{kind}" in endings():
                    if key in images:
                        faults.append(f"{file.name}/{shown(key.lstrip('/'), 200)}: the sample has two images")
                    images[key] = member
                else:
                    passed.add(f"ending {shown(f'.{kind}', 20)}", f"{file}/{member.name}", split=split)
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        message = f"task.path: {file} cannot be read as a tar file ({error}); copy it again, uncompressed"
        raise RunError("data_corrupt", message) from None
    except OSError as error:
        raise RunError("data_corrupt", f"task.path: {file} cannot be read ({error.strerror})") from None
    for key in (key for key in images if key not in labels):
        faults.append(f"{file.name}/{shown(images[key].name, 200)}: has no .cls and no field {field!r} in a .json")
    for key in (key for key in labels if key not in images):
        passed.add("label without an image", f"{file}{key}", split=split)
    return [
        Row(
            file / member.name.lstrip("/"),
            labels[key],
            split,
            f"{file.name}/{shown(member.name, 200)}",
            partial(_read, file, member.offset_data, member.size),
        )
        for key, member in images.items()
        if key in labels
    ]


def _label(shard: tarfile.TarFile, member: tarfile.TarInfo, kind: str, field: str) -> str | None:
    opened = shard.extractfile(member)
    assert opened is not None
    content = opened.read(_LONGEST_LABEL).decode("utf-8")
    if kind == "cls":
        return label_text(content)
    try:
        said = json.loads(content)
    except ValueError:
        return None
    value = said.get(field) if isinstance(said, dict) else None
    return label_text(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _read(file: Path, offset: int, size: int) -> bytes:
    try:
        with data_path(file).open("rb") as opened:
            opened.seek(offset)
            return opened.read(size)
    except OSError as error:
        raise RunError("data_missing", f"{file} cannot be read ({error.strerror})") from None


SOURCE = _files.file_source(
    name="webdataset",
    title="WebDataset shards",
    doc=__doc__,
    params=Params,
    listed=listed,
)
