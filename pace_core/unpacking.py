"""Unpacks an archive that a stranger may have made: nothing leaves the folder, no links, no more than was agreed."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from pace_core.spec import RunError
from pace_core.spec.text import shown

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_FILES = 1_000_000
_EXPANDS = 20
_SMALLEST = 100 * 2**20
"""Images hardly shrink: what grows to more than twenty times its size, and above this, is a bomb."""
_DEEPEST = 32  # folders one in the other, which cost the disk more than they cost the archive
_CHUNK = 2**20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


class _Member(NamedTuple):
    name: str
    opened: IO[bytes]


def unpack(archive: Path, to: Path, most_bytes: int | None = None) -> None:
    """Unpacks a zip or tar file, compressed or not, into a new folder, as plain files that nobody may execute.

    `most_bytes` of all files together; twenty times the archive's size where None. Raises RunError `data_corrupt` that
    names the member for a link, a device, a name that leads out or comes twice, a password, and what is too large.
    """
    most = max(_SMALLEST, _EXPANDS * archive.stat().st_size) if most_bytes is None else most_bytes
    to.mkdir(parents=True)
    taken = count = 0
    try:
        for member in _members(archive):
            count += 1
            if count > MOST_FILES:
                raise _refused(member.name, f"the archive has more than {MOST_FILES:,} files")
            file = to / _inside(member.name)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("xb") as out:
                    while piece := member.opened.read(_CHUNK):
                        taken += len(piece)
                        if taken > most:
                            raise _refused(member.name, f"the archive unpacks to more than {most:,} bytes")
                        out.write(piece)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise _refused(member.name, "another file of the archive has this name") from None
    except _BROKEN as error:
        message = f"the archive cannot be read ({type(error).__name__}: {shown(str(error), 200)}); make it anew"
        raise RunError("data_corrupt", message) from None
    except RuntimeError as error:  # zipfile's word for a password
        if isinstance(error, RunError) or "encrypted" not in str(error):
            raise
        raise RunError("data_corrupt", "the archive is encrypted; make it anew without a password") from None


def top(folder: Path) -> Path:
    """Returns the folder that holds more than one folder: archives often have a single one at their top."""
    while len(inner := [each for each in folder.iterdir() if not each.name.startswith((".", "__"))]) == 1:
        if not inner[0].is_dir():
            break
        folder = inner[0]
    return folder


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        yield from _of_zip(archive)
    elif tarfile.is_tarfile(archive):
        yield from _of_tar(archive)
    else:
        raise RunError("data_corrupt", "it is neither a zip nor a tar file; pack the folder as one of them")


def _of_zip(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _refused(info.filename, "is a link or device")
            with opened.open(info) as member:
                yield _Member(info.filename, member)


def _of_tar(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            if info.isdir():
                continue
            if not info.isreg() or info.sparse:
                raise _refused(info.name, "is a link, device or sparse file")
            member = opened.extractfile(info)
            assert member is not None
            with member:
                yield _Member(info.name, member)


def _inside(name: str) -> PurePosixPath:
    """The member's path within the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or not parts or "\0" in name or ":" in parts[0]:
        raise _refused(name, "leads out of the folder")
    if (
        len(parts) > _DEEPEST
        or len(name) > 1000
        or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts)
    ):
        raise _refused(name, "has too long or too deep a name")
    return PurePosixPath(*parts)


def _refused(name: str, why: str) -> RunError:
    return RunError("data_corrupt", f"{shown(name, 200)}: {why}; pack plain files only, with names below one folder")
