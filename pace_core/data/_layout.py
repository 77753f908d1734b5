"""Layout of a folder of images: class folders, or split folders of such; what is neither is refused as seen."""

import unicodedata
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pace_core.image_walk import holds_images, images_below, loose_images, subfolders
from pace_core.passed_over import UNSPLIT, Passed
from pace_core.spec import RunError
from pace_core.spec.text import shown

SPLIT_NAMES = {
    "train": ("train", "training", "trainset", "train_set", "training_set"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval", "valset", "val_set", "validation_set"),
    "test": ("test", "testing", "testset", "test_set"),
}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_DEEPEST_WRAPPING = 5
EMPTY_CLASS = "class folder without images"
_CURES = {
    "ending": "save such images as PNG or JPEG",
    "no ending": "give image files an ending such as .png",
    "hidden": "take the dot from the names of what is meant",
    "system folder": "rename the folder if its images are yours",
    "link to nothing": "copy the files that the links name",
    "link that leads back": "name the folder itself as task.path",
}
"""How a reason begins → what makes such files images of a run."""


@dataclass
class Layout:
    """The folders that hold classes: one for each split, or one for all that is still to be cut."""

    splits: dict[str, Path] = field(default_factory=dict)
    whole: Path | None = None


def layout(root: Path, passed: Passed) -> Layout:
    """Raises RunError, with what was seen, where it is not clear which folders are classes."""
    named: dict[str, list[Path]] = {split: [] for split in SPLIT_NAMES}
    others: list[Path] = []
    for folder in subfolders(root):
        if holds_images(folder):
            split = _SPLIT_OF.get(folder.name.strip().casefold().replace("-", "_").replace(" ", "_"))
            (named[split] if split else others).append(folder)
    for split, found in named.items():
        if len(found) > 1:
            names = " and ".join(_name(folder) for folder in found)
            raise _unclear(root, f"both {names} may be the {split} split; merge them or rename one")
    splits = {split: found[0] for split, found in named.items() if found}
    train = splits.get("train")
    if train is None:
        for split, folder in splits.items():
            if others and any(holds_images(below) for below in subfolders(folder)):
                beside = _some([_name(other) for other in others])
                cure = f"move the class folders {beside} into a folder train"
                raise _unclear(root, f"{_name(folder)} with folders in it, as a {split} split; {cure}")
        if splits and not others:
            names = " and ".join(_name(folder) for folder in splits.values())
            raise _missing(root, f"{names} but no train folder; add one, or choose a folder of classes as task.path")
        return Layout(whole=root)
    if not any(holds_images(folder) for folder in subfolders(train)):
        if others:
            return Layout(whole=root)  # a class that is called train
        count = len(loose_images(train))
        raise _missing(
            train, f"{count} images but no class folders; put each class's images in a folder of its own there"
        )
    if others and len(splits) == 1:
        beside = _some([_name(folder) for folder in others])
        cure = "it is either a class or a split: rename it, or move the others away"
        raise _unclear(root, f"{_name(train)} with folders in it beside {beside}; {cure}")
    subfolders(root, passed.add)
    for path in [*loose_images(root), *(path for other in others for path in images_below(other))]:
        passed.add("beside the split folders", path)
    return Layout(splits=splits)


def classes_of(root: Path, passed: Passed, split: str = UNSPLIT) -> dict[str, list[Path]]:
    """Returns class name → its images, for every class folder with images.

    `split`: the one whose folder this is. Raises RunError where the folders seem to be no classes.
    """
    found: dict[str, list[Path]] = {}
    for path in loose_images(root):
        passed.add("beside the class folders", path)
    for folder in subfolders(root, passed.add):
        name = _class_name(folder)
        images = images_below(folder, partial(passed.add, class_name=name, split=split))
        if not images:
            passed.add(EMPTY_CLASS, folder, split=split)
        elif name in found:
            message = f"two class folders whose names, {_name(folder)}, differ in their Unicode form only; merge them"
            raise RunError("data_corrupt", f"task.path: {root} holds {message}")
        else:
            found[name] = images
    return found


def refuse_no_classes(root: Path, classes: dict[str, list[Path]], passed: Passed) -> None:
    """Raises RunError where there are fewer than two classes, or what looks like something else."""
    if len(classes) >= 2:
        _refuse_same_subfolders(root)
        return
    if inner := _wrapped(root):
        raise _missing(root, f"{len(classes)} class folders with images; did you mean {shown(str(inner), 500)}?")
    if count := len(loose_images(root)):
        raise _missing(
            root,
            f"{len(classes)} class folders with images, and {count} images beside them; "
            "put each class's images in a folder of its own",
        )
    reasons = [(why, n) for why, n in passed.counts.most_common() if why != EMPTY_CLASS]
    said = ", ".join(f"{n:,} {why}" for why, n in reasons[:5])
    cures = list(
        dict.fromkeys(cure for why, _ in reasons[:5] for start, cure in _CURES.items() if why.startswith(start))
    )
    aside = f" (passed over: {said}{''.join(f'; {cure}' for cure in cures)})" if said else ""
    raise _missing(root, f"{len(classes)} class folders with images{aside}; put each class's images in its own folder")


def class_order(names: dict[str, list[Path]]) -> tuple[str, ...]:
    """Returns the names in code-point order, or in the order of numbers where all are numbers."""
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def refuse_strange(root: Path, found: dict[str, list[Path]], class_names: tuple[str, ...]) -> None:
    """Raises RunError for classes that only another split than train has."""
    strange = sorted(set(found) - set(class_names))
    if not strange:
        return
    alike = {name.casefold(): name for name in class_names}
    hints = [f"{shown(name)}" for name in (alike.get(odd.casefold()) for odd in strange) if name]
    hint = f"; did you mean {', '.join(hints[:5])}" if hints else ""
    names = _and([shown(name) for name in strange[:5]], len(strange))
    are = "is not a class" if len(strange) == 1 else "are not classes"
    raise RunError("data_corrupt", f"{root}: {names} {are} in the training folder{hint}")


def refuse_flat(root: Path, split: str) -> None:
    """Raises RunError where the images of a split lie in it without class folders."""
    if any(holds_images(folder) for folder in subfolders(root)):
        return
    if count := len(loose_images(root)):
        cure = (
            "or run phase search and predict them"
            if split == "test"
            else "or remove it; part of train is then used instead"
        )
        message = f"{count} images but no class folders, so their classes are unknown; sort them into class folders"
        raise _missing(root, f"{message}, {cure}")


def _refuse_same_subfolders(root: Path) -> None:
    """Years, cameras or splits above the classes: the same folders in each, and no images beside them."""
    inside: set[frozenset[str]] = set()
    for folder in subfolders(root):
        if holds_images(folder):
            inside.add(frozenset(below.name for below in subfolders(folder) if holds_images(below)))
            if len(inside) > 1 or not all(inside) or loose_images(folder):
                return
    same = next(iter(inside))
    if len(same) >= 2:
        names = [_name(folder) for folder in subfolders(root) if holds_images(folder)]
        raise _unclear(
            root,
            f"{_some(names)}, and each of them holds the same folders {_some(sorted(map(shown, same)))} and no images; "
            "these seem to be the classes: choose one folder as task.path, name the folders train, val and test, "
            "or list the images in a CSV",
        )


def _and(names: list[str], count: int) -> str:
    """Joins the first of so many names: `a and b`, `a, b and 3 more`."""
    *first, last = [*names, *([f"{count - len(names)} more"] if count > len(names) else [])]
    return f"{', '.join(first)} and {last}" if first else last


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _wrapped(root: Path) -> Path | None:
    """The folder of classes or splits that lies alone in this one, as after unpacking an archive."""
    inner = root
    for _ in range(_DEEPEST_WRAPPING):
        below = [folder for folder in subfolders(inner) if holds_images(folder)]
        if len(below) >= 2 or (below and _SPLIT_OF.get(below[0].name.casefold()) == "train"):
            return inner if inner != root else None
        if len(below) != 1:
            return None
        inner = below[0]
    return None


def _class_name(folder: Path) -> str:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        message = f"the name of the class folder {_name(folder)} is not UTF-8; rename it"
        raise RunError("data_corrupt", f"task.path: {shown(str(folder.parent), 500)}: {message}") from None
    return unicodedata.normalize("NFC", folder.name)


def _name(folder: Path) -> str:
    return shown(folder.name)


def _missing(root: Path, seen: str) -> RunError:
    return RunError("data_missing", f"task.path: {shown(str(root), 500)} holds {seen}")


def _unclear(root: Path, seen: str) -> RunError:
    return RunError("data_corrupt", f"task.path: {shown(str(root), 500)} holds {seen}")
