"""A data set that was uploaded to the service (`pace dataset upload`), by the name that it has in the project.

Its layout is recognised: what HF's `save_to_disk` wrote, parquet files, WebDataset shards, a CSV of paths and labels
with its images, or class folders. What holds for these sources holds for it; splits that are not there are cut.
"""

import csv as csv_format
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pace_core.data import _files, csv, hf_dataset, image_folder, parquet, webdataset
from pace_core.data._listing import Listing, text
from pace_core.data._rows import CutParams, split_of
from pace_core.data._splits import Phase
from pace_core.image_walk import walk
from pace_core.passed_over import Passed
from pace_core.spec import RunError
from pace_core.spec.text import shown
from pace_core.uploads import folder_of

_PATHS = ("path", "file_name", "filename", "image_path", "image", "file")
_LABELS = ("label", "labels", "class", "target", "fine_label", "cls")
_SPLITS = ("split", "subset", "set")
_READ = (
    "class folders, a CSV with the columns path and label beside its images, parquet files, what save_to_disk wrote, "
    "or WebDataset shards"
)


class Params(CutParams):
    """Name of the data set, and how to split it."""

    dataset: str = Field(min_length=1, max_length=100)
    """Its name in the job's project; `pace dataset list` shows them."""


@dataclass(frozen=True)
class _Table:
    """A CSV file with the columns that are needed."""

    file: Path
    path: str
    label: str
    split: str | None


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase. Raises RunError that names what is missing or not clear."""
    root = folder_of(params.dataset)
    how = params.model_dump(exclude={"dataset"})
    given = {"path": str(root), **how}
    layout = _layout(root)
    if layout == "csv":
        return csv.listing(_table(root), params, phase=phase, num_classes=num_classes, cut_test=True)
    if layout == "hf_dataset":
        return hf_dataset.listed(hf_dataset.Params(**given), phase=phase, num_classes=num_classes)
    if layout == "parquet":
        return parquet.listed(parquet.Params(**given), phase=phase, num_classes=num_classes)
    if layout == "webdataset":
        return webdataset.listed(webdataset.Params(**given), phase=phase, num_classes=num_classes)
    return image_folder.listed(image_folder.Params(**given), phase=phase, num_classes=num_classes)


def _layout(root: Path) -> str:
    """The name of the source that reads the folder. Raises RunError `data_corrupt` where there is none, or several."""
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        return "hf_dataset"
    packed = {
        name: found
        for name, ending in (("parquet", ".parquet"), ("webdataset", ".tar"))
        if (found := next((each for each in sorted(root.rglob(f"*{ending}")) if _seen(each, root)), None))
    }
    if len(packed) > 1:
        files = " and ".join(each.relative_to(root).as_posix() for each in packed.values())
        raise RunError("data_corrupt", f"it holds {shown(files, 300)}; upload one kind of them, each as a data set")
    if packed:
        return next(iter(packed))
    if _tables(root):
        return "csv"
    folders = [each for each in root.iterdir() if each.is_dir() and _seen(each, root)]
    if any(next(walk(each, Passed().add), None) for each in folders):
        return "image_folder"
    files = sorted(each.relative_to(root).as_posix() for each in root.rglob("*") if each.is_file())
    held = f"{len(files):,} files, such as {shown(', '.join(files[:3]), 300)}" if files else "no files"
    raise RunError("data_corrupt", f"it holds {held}, which is no layout that is read; upload {_READ}")


def _seen(path: Path, root: Path) -> bool:
    return not any(part.startswith((".", "__")) for part in path.relative_to(root).parts)


def _table(root: Path) -> csv.Params:
    """The one table of the data set, or those of its splits. Raises RunError where it is not clear which those are."""
    tables = _tables(root)
    if len(tables) == 1:
        (one,) = tables
        return csv.Params(path=str(one.file), path_column=one.path, label_column=one.label, split_column=one.split)
    of_split = {split_of(_words(each.file)): each for each in tables}
    columns = {(each.path, each.label) for each in tables}
    if None in of_split or len(of_split) < len(tables) or "train" not in of_split or len(columns) > 1:
        names = shown(", ".join(each.file.name for each in tables), 300)
        message = f"it is not clear which of {names} is the table; upload one, or train.csv, val.csv and test.csv"
        raise RunError("data_corrupt", f"{message} with equal columns")
    files = {str(split): str(each.file) for split, each in of_split.items()}
    train = of_split["train"]
    return csv.Params(
        path=files["train"],
        val_path=files.get("val"),
        test_path=files.get("test"),
        path_column=train.path,
        label_column=train.label,
    )


def _tables(root: Path) -> list[_Table]:
    """The files at the top with a column of paths and one of labels."""
    found: list[_Table] = []
    for file in sorted(each for each in root.iterdir() if each.suffix.lower() in (".csv", ".tsv") and each.is_file()):
        if not _seen(file, root):
            continue
        first = text(file, file.name).partition("\n")[0]
        delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
        try:
            header = [name.strip() for name in next(csv_format.reader([first], delimiter=delimiter), [])]
        except csv_format.Error:
            continue
        path, label, split = (next((n for n in usual if n in header), None) for usual in (_PATHS, _LABELS, _SPLITS))
        if path and label:
            found.append(_Table(file, path, label, split))
    return found


def _words(file: Path) -> list[str]:
    return file.stem.replace("-", " ").replace("_", " ").replace(".", " ").split()


SOURCE = _files.file_source(
    name="uploaded",
    title="Uploaded data set",
    doc=__doc__,
    params=Params,
    listed=listed,
)
