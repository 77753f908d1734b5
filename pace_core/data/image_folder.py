"""A folder of images with one sub-folder a class, or split folders (train, val, test) of such.

Classes are train's folders, in code-point order of their names, or in the order of numbers where all names are numbers.
Without split folders, test and val are cut out of every class by fraction; a missing val folder is cut out of train.
"""

from pathlib import Path

from pydantic import Field

from pace_core.data import _files
from pace_core.data._layout import (
    Layout,
    class_order,
    classes_of,
    layout,
    refuse_flat,
    refuse_no_classes,
    refuse_strange,
)
from pace_core.data._listing import Listed, Listing, cut, folder
from pace_core.data._splits import Phase
from pace_core.passed_over import UNSPLIT, Passed
from pace_core.spec import RunError


class Params(_files.UserParams):
    """Location of the images, and how to split them."""

    path: str
    """Folder on the worker's machine, or at a URL, such as s3://bucket/photos or https://host/photos.zip:
    path/<class>/*.jpg, or path/train|val|test/<class>/*.jpg."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class's images to test on, where there are no split folders."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase. Raises RunError that names what is missing or not clear."""
    root, passed = folder(params.path, "path"), Passed()
    found = layout(root, passed)
    train_root = found.whole or found.splits["train"]
    classes = classes_of(train_root, passed, UNSPLIT if found.whole else "train")
    refuse_no_classes(train_root, classes, passed)
    class_names = class_order(classes)
    _files.check_num_classes(num_classes, len(class_names), params.path)
    train, val, test = _listed(classes, class_names), list[Listed](), list[Listed]()
    if found.whole:
        train, test = cut(train, params.test_fraction, params.split_seed)
    else:
        val = _of_split(found, "val", class_names, passed)
        if phase == "final":
            if "test" not in found.splits:
                message = f"task.path: {root} has a train folder but no test folder; add one, or run phase search"
                raise RunError("data_missing", message)
            test = _of_split(found, "test", class_names, passed)
    return _files.of_phase(phase, train, val, test, class_names, passed, params)


def _of_split(found: Layout, split: str, class_names: tuple[str, ...], passed: Passed) -> list[Listed]:
    if split not in found.splits:
        return []
    root = found.splits[split]
    refuse_flat(root, split)
    classes = classes_of(root, passed, split)
    refuse_strange(root, classes, class_names)
    return _listed(classes, class_names)


def _listed(classes: dict[str, list[Path]], class_names: tuple[str, ...]) -> list[Listed]:
    return [
        Listed(path, label, f"class {name}")
        for label, name in enumerate(class_names)
        for path in classes.get(name, [])
    ]  # fmt: skip


SOURCE = _files.file_source(
    name="image_folder",
    title="Image folder",
    doc=__doc__,
    params=Params,
    listed=listed,
)
