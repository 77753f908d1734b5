"""A folder of images with one sub-folder a class, or split folders (train, val, test) of such.

Classes are train's folders, in code-point order of their names, or in the order of numbers where all names are numbers.
Without split folders, test and val are cut out of every class by fraction; a missing val folder is cut out of train.
"""

from pathlib import Path

from pydantic import Field

from pace_core.data import _files
from pace_core.data._listing import Listed, Listing, content_hash, cut, folder
from pace_core.data._splits import Phase, Splits
from pace_core.preprocessing import Preprocessing
from pace_core.spec import Reporter, RunError

NAME = "image_folder"
TITLE = "Image folder"
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "eval"),
    "test": ("test", "testing"),
}
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


class Params(_files.UserParams):
    """Where the images are and how to split them."""

    path: str
    """Folder on the worker's machine: path/<class>/*.jpg, or path/train|val|test/<class>/*.jpg."""
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class's training images to choose settings by, where there is no val folder."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class's images to test on, where there are no split folders."""
    split_seed: int = Field(default=0, ge=0)
    """Another seed cuts other images."""


def load(
    params: Params, *, phase: Phase, num_classes: int | None, preprocessing: Preprocessing, reporter: Reporter
) -> Splits:
    """The phase's images; in a search no file of the test split is opened."""
    listing = listed(params, phase=phase)
    _files.check_num_classes(num_classes, len(listing.class_names), params.path)
    return _files.splits(
        listing, phase=phase, preprocessing=preprocessing, on_unreadable=params.on_unreadable, reporter=reporter
    )


def fingerprint(params: Params, *, phase: Phase, num_classes: int | None = None) -> str:
    """SHA-256 of the class names, labels and file contents of what the phase may open."""
    return content_hash(listed(params, phase=phase))


def listed(params: Params, *, phase: Phase) -> Listing:
    """The files of the phase. Raises RunError that names what is missing."""
    root = folder(params.path, "path")
    train_root = _split_folder(root, "train")
    class_names = _class_names(train_root or root)
    if train_root:
        train, val, test = _files_of(train_root, class_names), None, None
        if val_root := _split_folder(root, "val"):
            val = _files_of(val_root, class_names)
        if phase == "final":
            test_root = _split_folder(root, "test")
            if test_root is None:
                message = f"task.path: {root} has a train folder but no test folder; add one, or run phase search"
                raise RunError("data_missing", message)
            test = _files_of(test_root, class_names)
    else:
        train, test = cut(_files_of(root, class_names), params.test_fraction, params.split_seed)
        val = None
    if phase == "final" and params.final_trains_on_val:
        return Listing([*train, *(val or [])], test or [], class_names)
    if val is None:
        train, val = cut(train, params.val_fraction, params.split_seed)
    return Listing(train, (test or []) if phase == "final" else val, class_names)


def _split_folder(root: Path, split: str) -> Path | None:
    return next((root / name for name in SPLIT_NAMES[split] if (root / name).is_dir()), None)


def _class_names(root: Path) -> tuple[str, ...]:
    names = [
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".") and _images(entry)
    ]
    if len(names) < 2:
        message = (
            f"task.path: {root} holds {len(names)} class folders with images; put each class's images in its own folder"
        )
        raise RunError("data_missing", message)
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def _files_of(root: Path, class_names: tuple[str, ...]) -> list[Listed]:
    found = {
        entry.name: _images(entry) for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    }
    strange = sorted(name for name, images in found.items() if images and name not in class_names)
    if strange:
        raise RunError("data_corrupt", f"{root}: {', '.join(strange[:5])} is no class of the training folder")
    return [
        Listed(path, label, f"class {name}")
        for label, name in enumerate(class_names)
        for path in found.get(name, [])
    ]  # fmt: skip


def _images(class_folder: Path) -> list[Path]:
    """Also in folders below; what is hidden, such as a notebook's copies in .ipynb_checkpoints, is passed over."""
    return sorted(
        path
        for path in class_folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in path.relative_to(class_folder).parts)
        and not path.is_dir()
    )
