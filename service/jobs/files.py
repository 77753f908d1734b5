"""A job's files under the storage root."""

import asyncio
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, cast

from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]

from service.problems import NotFound, RangeNotSatisfiable

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class File:
    """A file of a job, ready to be sent."""

    filesystem: Any
    path: str
    size: int
    sha256: str

    def part(self, header: str | None) -> range:
        """Returns the bytes that a Range header asks for; all of them where it is None. Raises RangeNotSatisfiable."""
        if header is None:
            return range(self.size)
        asked = _RANGE.fullmatch(header.strip())
        if asked and any(asked.groups()):
            first, last = asked.groups()
            start = int(first) if first else max(self.size - int(last), 0)
            stop = min(int(last) + 1, self.size) if first and last else self.size
            if start < stop:
                return range(start, stop)
        raise RangeNotSatisfiable(f"{header!r} is not a single range of a file of {self.size} bytes")

    def read(self, part: range) -> Iterator[bytes]:
        """Reads those bytes, piece by piece."""
        with self.filesystem.open(self.path, "rb") as source:
            source.seek(part.start)
            left = len(part)
            while left > 0 and (piece := source.read(min(_CHUNK, left))):
                left -= len(piece)
                yield piece


async def list_files(storage_root: str, job: str) -> list[tuple[str, int]]:
    """Lists every file of a job's attempts: its path within the job, and its size."""
    return await asyncio.to_thread(_list, storage_root, job)


async def open_file(storage_root: str, job: str, path: str, known: str | None = None) -> File:
    """Opens a file by its path within the job; `known` is its SHA-256 where that is stored.

    Raises NotFound, also for a path that leads out of the job's folder.
    """
    return await asyncio.to_thread(_open, storage_root, job, path, known)


async def delete_files(storage_root: str, job: str) -> None:
    """Deletes everything the job's attempts left."""
    await asyncio.to_thread(_delete, storage_root, job)


def _list(storage_root: str, job: str) -> list[tuple[str, int]]:
    filesystem, folder = _folder(storage_root, job)
    found: dict[str, Any] = filesystem.find(folder, detail=True) if filesystem.exists(folder) else {}
    return sorted(
        (name.removeprefix(f"{folder}/"), int(info["size"]))
        for name, info in found.items()
        if not _leads_out(filesystem, name, folder)
    )


def _open(storage_root: str, job: str, path: str, known: str | None) -> File:
    filesystem, folder = _folder(storage_root, job)
    full = f"{folder}/{path}"
    if ".." in PurePosixPath(path).parts or not filesystem.isfile(full) or _leads_out(filesystem, full, folder):
        raise NotFound(f"job {job} has no file {path!r}")
    info = filesystem.info(full)
    written = info.get("mtime") or info.get("LastModified") or info.get("ETag")
    return File(filesystem, full, int(info["size"]), known or _checksum(storage_root, full, info["size"], str(written)))


@lru_cache(maxsize=10_000)
def _checksum(storage_root: str, path: str, size: int, written: str) -> str:
    """The file's SHA-256; computed once for each content, however often and in how many ranges it is downloaded."""
    filesystem, _ = cast(tuple[Any, str], url_to_fs(storage_root, use_listings_cache=False))
    digest = hashlib.sha256()
    with filesystem.open(path, "rb") as source:
        while piece := source.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _leads_out(filesystem: Any, path: str, folder: str) -> bool:
    """Whether a link on the way to the file leads out of the job's folder; only a local storage has links."""
    if not isinstance(filesystem, LocalFileSystem):
        return False
    return not os.path.realpath(path).startswith(os.path.realpath(folder) + "/")


def _delete(storage_root: str, job: str) -> None:
    filesystem, folder = _folder(storage_root, job)
    if filesystem.exists(folder):
        filesystem.rm(folder, recursive=True)


def _folder(storage_root: str, job: str) -> tuple[Any, str]:
    filesystem, root = cast(tuple[Any, str], url_to_fs(storage_root, use_listings_cache=False))
    return filesystem, f"{root.rstrip('/')}/jobs/{job}"
