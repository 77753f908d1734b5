"""FGVC in the layout that VPT distributes: a folder a data set, with train.json, val.json and test.json in it.

A split is one object of image path → class id. Ids are numbers, or text such as "001", with gaps (NABirds), and become
labels in the order of train.json's: val.json misses classes of NABirds, so that a map of its own would be wrong.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pace_core.data import _files
from pace_core.data._listing import Listed, Listing, cut, in_one_message, text
from pace_core.data._lists import below, first_folder
from pace_core.data._splits import Phase
from pace_core.data._where import home_of
from pace_core.passed_over import Passed
from pace_core.spec import RunError


@dataclass(frozen=True)
class DataSet:
    """One of the five data sets: where it lies, and its number of classes."""

    folders: tuple[str, ...]
    """Names that its folder may bear."""
    images: tuple[str, ...]
    """Where in the folder the paths may count from."""
    classes: int


DATA_SETS = {
    "cub": DataSet(
        ("CUB_200_2011", "cub", "CUB"),
        ("images", "CUB_200_2011/images", "."),
        200
    ),
    "nabirds": DataSet(
        ("nabirds", "NABirds"), ("images", "."), 555
    ),
    "oxford_flowers": DataSet(
        ("OxfordFlower", "OxfordFlowers", "oxford_flowers"), (".",), 102
    ),
    "stanford_dogs": DataSet(
        ("Stanford-dogs", "StanfordDogs", "stanford_dogs"),
        ("Images", "images/Images", "images", "."),
        120
    ),
    "stanford_cars": DataSet(
        ("Stanford-cars", "StanfordCars", "stanford_cars"), (".",), 196
    ),
}  # fmt: skip


class Params(_files.PublishedParams):
    """Location of the benchmark, one of its data sets, and how much of it to train on."""

    path: str | None = None
    """Folder on the worker's machine that holds the data sets' folders, or one of those; where that machine says its
    data lies (`pace data add`, PACE_DATA) where None."""
    task: Literal["cub", "nabirds", "oxford_flowers", "stanford_dogs", "stanford_cars"]
    """Data set."""
    percent: Literal[10, 20, 50, 100] = 100
    """Share of the training images. Below 100: of train_50.json and so on where there is such a file, else as many of
    every class, drawn by the images' names."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase: train and val, or train and test; in a search test.json is not opened.

    Raises RunError that names the file and the entry, and the cure where it is a known trap.
    """
    said = DATA_SETS[params.task]
    _files.check_num_classes(num_classes, said.classes, params.task)
    home = first_folder(home_of(params.path, "fgvc"), said.folders, "train.json")
    train_ids = _read(home, "train")
    classes = _classes(train_ids, home, said.classes)
    passed = Passed()
    train = _entries(home, "train", train_ids, classes, said)
    if params.percent < 100:
        train = _part(home, train, classes, said, params.percent, passed)
    measured = "val" if phase == "search" else "test"
    other = _entries(home, measured, _read(home, measured), classes, said)
    _refuse_kaggle_cars(home, [*train, *other])
    return Listing(train, other, tuple(classes), passed)


def _read(home: Path, split: str) -> dict[str, Any]:
    name = f"{home.name}/{split}.json"
    try:
        said = json.loads(text(home / f"{split}.json", name))
    except (ValueError, RecursionError) as error:
        raise RunError("data_corrupt", f"{name}: is no JSON ({error})") from None
    if not isinstance(said, dict) or not all(isinstance(value, int | str) for value in said.values()):
        message = "must be one object of image path to class id, as VPT distributes the splits"
        raise RunError("data_corrupt", f"{name}: {message}")
    if not said:
        raise RunError("data_missing", f"{name} names no images")
    return said


def _classes(train: dict[str, Any], home: Path, expected: int) -> dict[str, int]:
    """Class id → label, in the order of train.json's ids."""
    ids = {str(value) for value in train.values()}
    numbers = all(each.isdecimal() for each in ids)
    ordered = sorted(ids, key=lambda each: (int(each) if numbers else 0, each))
    if len(ordered) != expected:
        message = f"names {len(ordered)} classes, not {expected}; take the train.json of the whole training split"
        raise RunError("data_corrupt", f"{home.name}/train.json: {message}")
    return {each: label for label, each in enumerate(ordered)}


def _entries(home: Path, split: str, said: dict[str, Any], classes: dict[str, int], data_set: DataSet) -> list[Listed]:
    name = f"{home.name}/{split}.json"
    strange = sorted({str(value) for value in said.values()} - set(classes))
    if strange:
        shifted = f"; train.json's run from {next(iter(classes))} to {list(classes)[-1]}"
        message = f"{len(strange)} class ids that train.json does not have, such as {strange[0]}{shifted}"
        raise RunError("data_corrupt", f"{name}: {message}; take all splits from one distribution")
    entries = [Listed(Path(path), classes[str(value)], f"{name} {path}") for path, value in said.items()]
    return below([home / images for images in data_set.images], entries)


def _part(
    home: Path, train: list[Listed], classes: dict[str, int], data_set: DataSet, percent: int, passed: Passed
) -> list[Listed]:
    split = f"train_{percent}"
    if (home / f"{split}.json").exists():
        part = _entries(home, split, _read(home, split), classes, data_set)
        unknown = {entry.path for entry in part} - {entry.path for entry in train}
        if unknown:
            faults = [f"{home.name}/{split}.json: {path.name} is no image of train.json" for path in sorted(unknown)]
            raise RunError("data_corrupt", in_one_message(faults))
    else:
        _, part = cut(train, percent / 100, 0)
    kept = {entry.path for entry in part}
    for entry in train:
        if entry.path not in kept:
            name = list(classes)[entry.label]
            passed.add(f"training image beyond {percent} %", entry.path, class_name=name, split="train")
    return part


def _refuse_kaggle_cars(home: Path, entries: list[Listed]) -> None:
    """Raises RunError where the lists name car_ims/ and the images are those of Kaggle's copy."""
    if not any(entry.path.parent.name == "car_ims" for entry in entries[:1]) or (home / "car_ims").is_dir():
        return
    if (home / "cars_train").is_dir():
        message = (
            "the lists name car_ims/000001.jpg and so on, the images are of Kaggle's copy, which numbers each split "
            "anew (cars_train/, cars_test/); the names cannot be matched by number: take lists made for these names, "
            "or make them from the annotations' .mat files"
        )
        raise RunError("data_corrupt", f"{home.name}: {message}")


SOURCE = _files.file_source(
    name="fgvc",
    title="FGVC folders with VPT's splits",
    doc=__doc__,
    params=Params,
    paper="Jia et al., ECCV 2022, arXiv 2203.12119 (VPT)",
    listed=listed,
)
