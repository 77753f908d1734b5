"""Files of a run at any fsspec URL: written all or nothing, read whole."""

import errno
import posixpath
import uuid

import fsspec
from fsspec.core import url_to_fs

from pace_core.spec import RunError
from pace_core.spec.text import shown

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def join(folder: str, name: str) -> str:
    """Returns the URL of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def read(url: str) -> bytes | None:
    """Returns the file's content; None where there is none.

    Raises IsADirectoryError for a folder, OSError with a sentence where it cannot be read.
    """
    try:
        with fsspec.open(url, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise
    except Exception as error:  # each kind of storage has its own: a folder, no permission, a protocol without library
        raise OSError(f"{shown(url, 500)} cannot be read: {_why(error)}") from error


def write(url: str, content: bytes) -> None:
    """Replaces the file in one move, so that a reader or a crash sees the old content or the new.

    Raises RunError `disk_full`, and `storage_failed` where it cannot be written; what was there before is still there.
    """
    try:
        filesystem, path = url_to_fs(url)
        beside = f"{path}.{uuid.uuid4().hex[:8]}.part"
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        try:
            filesystem.pipe_file(beside, content)
            filesystem.mv(beside, path)
        except BaseException:
            if filesystem.exists(beside):
                filesystem.rm_file(beside)
            raise
    except Exception as error:  # each kind of storage has its own
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            message = f"no room for {shown(url, 500)} ({len(content)} bytes); free some space and try again"
            raise RunError("disk_full", message) from error
        message = f"{shown(url, 500)} cannot be written: {_why(error)}"
        raise RunError("storage_failed", message) from error


def _why(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.splitlines()[0]
