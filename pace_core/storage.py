"""Files of a run at any fsspec URL: written all or nothing, read whole."""

import errno
import posixpath
import uuid

import fsspec
from fsspec.core import url_to_fs

from pace_core.spec import RunError


def join(folder: str, name: str) -> str:
    """The URL of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def read(url: str) -> bytes | None:
    """The file's content; None where there is none."""
    try:
        with fsspec.open(url, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(url: str, content: bytes) -> None:
    """Replaces the file in one move, so that a reader or a crash sees the old content or the new.

    Raises RunError `disk_full`; what was there before is still there.
    """
    filesystem, path = url_to_fs(url)
    beside = f"{path}.{uuid.uuid4().hex[:8]}.part"
    try:
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        try:
            filesystem.pipe_file(beside, content)
            filesystem.mv(beside, path)
        except BaseException:
            if filesystem.exists(beside):
                filesystem.rm_file(beside)
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError("disk_full", f"no room for {path} ({len(content)} bytes); free some and retry") from error
        raise
