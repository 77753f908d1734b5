"""Lists of image files with labels: what every source that reads files makes first, without opening an image."""

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pace_core.data._threads import in_order
from pace_core.passed_over import Passed
from pace_core.remote import located
from pace_core.roots import data_path
from pace_core.spec import RunError


@dataclass(frozen=True)
class Listed:
    """One image file and its label."""

    path: Path
    label: int
    origin: str
    """Where the user finds the entry: list file and line, or the class folder."""
    content: Callable[[], bytes] | None = None
    """Reads the image's bytes, where it is part of a larger file; `path` is then that file's with the image's name."""


@dataclass(frozen=True)
class Listing:
    """The files that a phase may open, and the classes."""

    train: list[Listed]
    measured: list[Listed]
    """Validation files in a search, test files in a final run."""
    class_names: tuple[str, ...]
    passed: Passed = field(default_factory=Passed)
    from_validation: int = 0
    """How many training files are validation files."""


_NAMED_FAULTS = 20


def in_one_message(faults: Sequence[str]) -> str:
    """Returns the first twenty faults, a line each, and how many more there are."""
    more = len(faults) - _NAMED_FAULTS
    return "\n".join([*faults[:_NAMED_FAULTS], *([f"and {more} more like these"] if more > 0 else [])])


def folder(path: str, field: str) -> Path:
    """Returns the folder at a user's path, or a copy of what lies at a URL: a folder, or an archive of one.

    Raises RunError naming field and path if there is none.
    """
    found = Path(located(path, field, folder=True)).expanduser()
    real = data_path(found, f"task.{field}")
    if not real.is_dir():
        raise RunError("data_missing", f"task.{field}: there is no folder {found} on this machine")
    return found


def text(path: Path, name: str) -> str:
    """Reads a list file's text without byte order mark. Raises RunError if it is missing or not UTF-8."""
    real = data_path(path, name)
    try:
        if real.exists() and not real.is_file():
            raise RunError("data_corrupt", f"{name}: {path} is a folder, pipe or device, not a text file")
        return real.read_text("utf-8-sig")
    except FileNotFoundError:
        raise RunError("data_missing", f"{name}: there is no file {path} on this machine") from None
    except OSError as error:
        raise RunError("data_corrupt", f"{name}: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise RunError("data_corrupt", f"{path} is not UTF-8 text: {error}") from None


def cut(listed: Sequence[Listed], fraction: float, seed: int) -> tuple[list[Listed], list[Listed]]:
    """Cuts the files into two parts; the second has `fraction` of every class, at least one file, never a whole class.

    Which files go where follows from their names and the seed, not from their order or folder.
    """

    def draw(entry: Listed) -> bytes:
        name = f"{seed}/{entry.label}/{entry.path.name}/{entry.path.parent.name}"
        return hashlib.sha256(os.fsencode(name)).digest()  # names need not be UTF-8

    by_class: dict[int, list[Listed]] = {}
    for entry in listed:
        by_class.setdefault(entry.label, []).append(entry)
    second: set[Listed] = set()
    for entries in by_class.values():
        count = min(max(1, round(fraction * len(entries))), len(entries) - 1)
        second.update(sorted(entries, key=draw)[:count])
    return [e for e in listed if e not in second], [e for e in listed if e in second]


def content_hash(listing: Listing) -> str:
    """Returns the SHA-256 of classes, splits, labels and file contents in order; paths do not enter it."""
    hashes = hashes_of(listing)
    total = hashlib.sha256("\0".join(listing.class_names).encode())
    for i, entry in enumerate([*listing.train, *listing.measured]):
        total.update(f"{i < len(listing.train)} {entry.label} {hashes[i]}\n".encode())
    return total.hexdigest()


def hashes_of(listing: Listing) -> list[str]:
    """Returns the SHA-256 of each file, those to train on first, or a word for why it has none."""
    return list(in_order(_hash, [*listing.train, *listing.measured]))


def _hash(entry: Listed) -> str:
    """Returns the SHA-256 of the image's content, or a word for why there is none."""
    try:
        if entry.content is not None:
            return hashlib.sha256(entry.content()).hexdigest()
        path = data_path(entry.path, "task")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "no file"
        return _hash_of(path, status.st_size, status.st_mtime_ns)
    except PermissionError:
        return "not readable"
    except (OSError, ValueError, RunError):
        return "missing"


@lru_cache(maxsize=200_000)  # a warm worker reads an unchanged file once
def _hash_of(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
