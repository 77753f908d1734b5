"""The image files of a folder: what Pillow can read, links followed once, what operating systems leave behind not.

Loads no torch.
"""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pace_core.image_formats import endings
from pace_core.passed_over import Tally
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


def subfolders(folder: Path, tally: Tally | None = None) -> list[Path]:
    """Its visible folders, links to folders too, by name; links that lead back up are passed over."""
    above, tally = _identities_above(folder), tally or _untold
    found: list[Path] = []
    for entry in _entries(folder):
        if _is_folder(entry) and not _unused(entry, tally):
            if _identity(entry.path) in above:
                tally("link that leads back", entry.path)
            else:
                found.append(Path(entry.path))
    return found


def loose_images(folder: Path) -> list[Path]:
    """Returns the image files directly in the folder."""
    return [
        Path(entry.path)
        for entry in _entries(folder)
        if not _is_folder(entry) and not _unused(entry, _untold) and _is_image(entry, _untold)
    ]


def holds_images(folder: Path) -> bool:
    """Tells whether there is an image in the folder or below."""
    return next(walk(folder, _untold), None) is not None


def images_below(folder: Path, tally: Tally | None = None) -> list[Path]:
    """Returns every image file in the folder and below, in the order of their paths."""
    return sorted(walk(folder, tally or _untold), key=lambda path: path.parts)


def walk(folder: Path, tally: Tally, unlisted: list[RunError] | None = None) -> Iterator[Path]:
    """Yields every image file in the folder and below.

    Raises RunError for a folder that cannot be listed, or adds that to `unlisted` where the caller gives it.
    """
    above, read = _identities_above(folder.parent), set[tuple[int, int]]()
    folders, links = deque([str(folder)]), deque[str]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()  # what a link repeats, the folder itself has shown
        identity = _identity(current)
        if identity in above or identity in read:
            tally("link that leads back", current)
            continue
        read.add(identity)
        try:
            entries = _entries(current)
        except RunError as error:
            if unlisted is None:
                raise
            unlisted.append(error)
            continue
        for entry in entries:
            if _unused(entry, tally):
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif _is_image(entry, tally):
                yield Path(entry.path)


def _untold(why: str, path: Path | str, *, count: int = 1) -> None:
    """Counts nothing: what is passed over is told by another walk, or is not of the run."""


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    data_path(Path(folder), "task.path")  # a link may lead out; nothing is listed there
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        cure = "; change its permissions" if isinstance(error, PermissionError) else ""
        message = f"the folder {shown(str(folder), 500)} cannot be listed ({error.strerror}){cure}"
        raise RunError("data_corrupt", message) from None


def _unused(entry: os.DirEntry[str], tally: Tally) -> bool:
    """Whether the name alone says that this is no image of the user's."""
    if entry.name.startswith("."):
        why = "hidden"
    elif entry.name.casefold() in SYSTEM_FOLDERS and _is_folder(entry):
        why = f"system folder {entry.name}"
    else:
        return False
    inside = entry.is_dir(follow_symlinks=False)
    tally(why, entry.path, count=_files_below(entry.path) if inside else 1)
    return True


def _is_image(entry: os.DirEntry[str], tally: Tally) -> bool:
    ending = os.path.splitext(entry.name)[1].lower()
    if not entry.is_file(follow_symlinks=False) and not os.path.isfile(entry.path):
        why = "link to nothing" if entry.is_symlink() and not os.path.exists(entry.path) else "pipe, socket or device"
    elif ending not in endings():
        why = f"ending {shown(ending, 20)}" if ending else "no ending"
    else:
        return True
    tally(why, entry.path)
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
