"""Folders of the data sets that were uploaded to the service, unpacked on this machine. Loads no torch."""

import os
from pathlib import Path

from pace_core.spec import RunError

_folders: dict[str, Path] = {}


def cache() -> Path:
    """Returns the folder in which this user's machine keeps them; its dot keeps it closed to paths in specs."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "pace" / ".datasets"


def place(folders: dict[str, Path]) -> None:
    """Says where the data sets of the run lie that begins now, by name; those of the one before are forgotten."""
    _folders.clear()
    _folders.update(folders)


def folder_of(name: str) -> Path:
    """Returns the folder of a data set. Raises RunError where the run was not given it."""
    if name not in _folders:
        message = (
            f"task.dataset: there is no data set {name!r} here; `pace dataset list` shows those of your project, and "
            "`pace train` takes a folder: task.source image_folder and task.path"
        )
        raise RunError("data_missing", message)
    return _folders[name]
