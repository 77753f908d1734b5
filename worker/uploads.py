"""Fetches an uploaded data set from the service's storage to this node, checks and unpacks it, once."""

import hashlib
import os
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path

import fsspec

from pace_core import uploads
from pace_core.spec import RunError
from pace_core.spec.leases import Upload
from pace_core.unpacking import top, unpack

UNUSED_S = 7 * 86_400.0
"""A data set that no run has used for so long is removed from the node; the next run fetches it again."""
_CHUNK = 2**20


def folder_of(upload: Upload) -> Path:
    """Returns where the data set lies on this node, or will.

    Named by its id: under its SHA-256, whoever knows that of another project's could announce it, and send anything.
    """
    return uploads.cache() / upload.id


def fetched(upload: Upload) -> Path:
    """Returns the folder with the data set's class folders, fetched and unpacked where it was not.

    Raises RunError where the storage does not give it, its content is not what was announced, or is no plain archive.
    """
    home = folder_of(upload)
    if not home.is_dir():
        _forget_unused(home.parent)
        _fetch(upload, home)
    os.utime(home)
    return top(home)


def _fetch(upload: Upload, home: Path) -> None:
    beside = home.with_name(f"{home.name}.{uuid.uuid4().hex[:8]}")
    archive, folder = beside.with_suffix(".archive"), beside.with_suffix(".part")
    home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _download(upload, archive)
        unpack(archive, folder)
        with suppress(OSError):  # another slot of the node was quicker
            folder.rename(home)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _download(upload: Upload, archive: Path) -> None:
    found = hashlib.sha256()
    try:
        with archive.open("wb") as out:
            for part in upload.parts:
                with fsspec.open(part, "rb") as source:
                    while piece := source.read(_CHUNK):
                        found.update(piece)
                        out.write(piece)
    except FileNotFoundError:
        raise RunError("data_missing", f"task.dataset: {upload.name!r} was deleted; upload it again") from None
    if found.hexdigest() != upload.sha256:
        message = f"task.dataset: what was uploaded as {upload.name!r} is not what was announced (another SHA-256)"
        raise RunError("data_corrupt", f"{message}; delete it and upload it again")


def _forget_unused(root: Path) -> None:
    with suppress(OSError):
        for each in root.iterdir():
            if time.time() - each.stat().st_mtime > UNUSED_S:
                shutil.rmtree(each, ignore_errors=True)
