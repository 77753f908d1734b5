"""The image files of a folder: what Pillow can read, links followed once, what operating systems leave behind not."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pace_core.data._found import Passed
from pace_core.image_formats import endings
from pace_core.roots import data_path
from pace_core.spec import RunError
from pace_core.spec.text import shown

SYSTEM_FOLDERS = frozenset(
    name.casefold()
    for name in (
        "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot",  # Synology, QNAP
        "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", "__MACOSX", "__pycache__",
    )
)  # fmt: skip


def subfolders(folder: Path, passed: Passed | None = None) -> list[Path]:
    """Its visible folders, links to folders too, by name; links that lead back up are passed over."""
    above = _identities_above(folder)
    found: list[Path] = []
    for entry in _entries(folder):
        if _is_folder(entry) and not _unused(entry, passed or Passed()):
            if _identity(entry.path) in above:
                (passed or Passed()).add("link that leads back", entry.path)
            else:
                found.append(Path(entry.path))
    return found


def loose_images(folder: Path) -> list[Path]:
    """Returns the image files directly in the folder."""
    none = Passed()
    return [
        Path(entry.path)
        for entry in _entries(folder)
        if not _is_folder(entry) and not _unused(entry, none) and _is_image(entry, none, None)
    ]


def holds_images(folder: Path) -> bool:
    """Tells whether there is an image in the folder or below."""
    return next(_walk(folder, Passed(), None), None) is not None


def images_below(folder: Path, passed: Passed, class_name: str) -> list[Path]:
    """Returns every image file in the folder and below, in the order of their paths."""
    return sorted(_walk(folder, passed, class_name), key=lambda path: path.parts)


def _walk(folder: Path, passed: Passed, class_name: str | None) -> Iterator[Path]:
    above, read = _identities_above(folder.parent), set[tuple[int, int]]()
    folders, links = deque([str(folder)]), deque[str]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()  # what a link repeats, the folder itself has shown
        identity = _identity(current)
        if identity in above or identity in read:
            passed.add("link that leads back", current, class_name)
            continue
        read.add(identity)
        for entry in _entries(current):
            if _unused(entry, passed, class_name):
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif _is_image(entry, passed, class_name):
                yield Path(entry.path)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    data_path(Path(folder), "task.path")  # a link may lead out; nothing is listed there
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        cure = "; change its permissions" if isinstance(error, PermissionError) else ""
        message = f"the folder {shown(str(folder), 500)} cannot be listed ({error.strerror}){cure}"
        raise RunError("data_corrupt", message) from None


def _unused(entry: os.DirEntry[str], passed: Passed, class_name: str | None = None) -> bool:
    """Whether the name alone says that this is no image of the user's."""
    if entry.name.startswith("."):
        why = "hidden"
    elif entry.name.casefold() in SYSTEM_FOLDERS and _is_folder(entry):
        why = f"system folder {entry.name}"
    else:
        return False
    inside = entry.is_dir(follow_symlinks=False)
    passed.add(why, entry.path, class_name, _files_below(entry.path) if inside else 1)
    return True


def _is_image(entry: os.DirEntry[str], passed: Passed, class_name: str | None) -> bool:
    ending = os.path.splitext(entry.name)[1].lower()
    if not entry.is_file(follow_symlinks=False) and not os.path.isfile(entry.path):
        why = "link to nothing" if entry.is_symlink() and not os.path.exists(entry.path) else "pipe, socket or device"
    elif ending not in endings():
        why = f"ending {shown(ending, 20)}" if ending else "no ending"
    else:
        return True
    passed.add(why, entry.path, class_name)
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _files_below(folder: str) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _identity(path: Path | str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _identities_above(folder: Path) -> set[tuple[int, int]]:
    """Of the folder and all that it lies in."""
    real = folder.resolve()
    return {_identity(place) for place in (real, *real.parents)}
