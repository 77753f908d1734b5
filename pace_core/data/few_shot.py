"""Few-shot data sets with NOAH's lists: 1, 2, 4, 8 or 16 images of every class, in three draws.

A data set's folder holds annotations/train_meta.list.num_shot_4.seed_0 and so on, val_meta.list and test_meta.list,
and its images below images/. A final run trains on the few images alone; val only chooses settings.
"""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from pace_core.data import _files
from pace_core.data._listing import Listing, content_hash, in_one_message
from pace_core.data._lists import first_folder, read_list
from pace_core.data._splits import Phase
from pace_core.data._where import home_of
from pace_core.spec import RunError

FOLDERS = {
    "aircraft": ("fgvc-aircraft", "fgvc_aircraft", "aircraft"),
    "food101": ("food101", "food-101"),
    "flowers102": ("oxford-flowers102", "oxford_flowers102", "oxford-flowers", "oxford_flowers", "flowers102"),
    "pets": ("oxford-pets", "oxford_pets", "pets"),
    "cars": ("stanford-cars", "stanford_cars", "standford-cars", "cars"),
}
"""Names that a data set's folder may bear; standford-cars is how NOAH's distribution spells it."""
CLASSES = {"aircraft": 100, "food101": 101, "flowers102": 102, "pets": 37, "cars": 196}
DRAWS = 3


class Params(_files.PublishedParams):
    """Location of the benchmark, one of its data sets, and which images of it."""

    path: str | None = None
    """Folder on the worker's machine that holds the data sets' folders, or one of those; where that machine says its
    data lies (`pace data add`, PACE_DATA) where None."""
    task: Literal["aircraft", "food101", "flowers102", "pets", "cars"]
    """Data set."""
    shots: Literal[1, 2, 4, 8, 16]
    """Training images of each class."""
    draw: int = Field(default=0, ge=0, lt=DRAWS)
    """Which of the three lists of training images. It is not the run's seed: published numbers are means of all
    three."""


def train_list(shots: int, draw: int) -> str:
    """Returns the name of a draw's list."""
    return f"train_meta.list.num_shot_{shots}.seed_{draw}"


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase; in a search test_meta.list is not opened. Raises RunError with all faulty lines."""
    classes = CLASSES[params.task]
    _files.check_num_classes(num_classes, classes, params.task)
    home = first_folder(home_of(params.path, "few-shot"), FOLDERS[params.task], "annotations")
    names = [train_list(params.shots, params.draw), "val_meta.list" if phase == "search" else "test_meta.list"]
    faults: list[str] = []
    train, measured = (
        read_list(home / "annotations" / name, f"{home.name}/{name}", [home / "images", home], classes, faults)
        for name in names
    )
    missing = sorted(set(range(classes)) - {entry.label for entry in train})
    if missing and not faults:
        what = f"has no image of {len(missing)} of the {classes} classes, such as label {missing[0]}"
        faults.append(f"{home.name}/{names[0]}: {what}; labels must be all of 0..{classes - 1}")
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    return Listing(train, measured, tuple(str(label) for label in range(classes)))


def fingerprint(params: Params, *, phase: Phase, num_classes: int | None = None) -> str:
    """Returns the SHA-256 of all three draws, so that runs on them may be averaged; of one's own where one is gone."""
    home = first_folder(home_of(params.path, "few-shot"), FOLDERS[params.task], "annotations")
    draws = [draw for draw in range(DRAWS) if (home / "annotations" / train_list(params.shots, draw)).exists()]
    each = [
        listed(params.model_copy(update={"draw": draw}), phase=phase, num_classes=num_classes)
        for draw in (draws if len(draws) == DRAWS else [params.draw])
    ]
    return content_hash(Listing([entry for one in each for entry in one.train], each[0].measured, each[0].class_names))


SOURCE = replace(
    _files.file_source(
        name="few_shot",
        title="Few-shot folders with NOAH's lists",
        doc=__doc__,
        params=Params,
        paper="Zhang et al. 2022, arXiv 2206.04673 (NOAH)",
        listed=listed,
    ),
    fingerprint=fingerprint,
)
