"""The folder of a run here: checked before training, held by one process at a time, never overwritten unasked."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from pace_core import storage
from pace_core.spec import RunSpec
from pace_core.spec.decisive import decisive, decisive_of, differences
from pace_core.spec.text import shown

RESULT, SPEC, LOCK = "result.json", "spec.json", "run.lock"
_CHECKPOINT = "checkpoint.safetensors"
_LEFT = ("adapter.safetensors", _CHECKPOINT, RESULT, SPEC)
_FRESH = "name another with --folder, or --overwrite what is there"


class FolderRefused(ValueError):
    """A run cannot have the folder; says why and what helps."""


@contextmanager
def run_folder(path: str, spec: RunSpec, *, resume: bool, overwrite: bool) -> Iterator[Path]:
    """Makes the folder, holds it while a run trains in it, and keeps the resolved spec there.

    Raises FolderRefused, before anything was changed, where it cannot be written, another process trains in it, or it
    holds a run that was not asked to be continued or overwritten, or that this spec cannot continue. Raises RunError
    `disk_full` where there is no room.
    """
    if resume and overwrite:
        raise FolderRefused("give --resume to go on, or --overwrite to begin anew, not both")
    if "://" in path:
        raise FolderRefused(f"{shown(path)} is a URL; runs without the service write to a folder of this machine")
    folder = Path(os.path.abspath(Path(path).expanduser()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+", encoding="utf-8")  # writing it is the proof that the folder can be written
    except OSError as error:
        raise FolderRefused(f"{shown(str(folder), 500)} cannot be written: {_why(folder, error)}") from error
    with lock:
        _hold(lock, folder)
        there = [name for name in _LEFT if (folder / name).exists()]
        if there and not (resume or overwrite):
            what = f"{_what(folder, spec)} ({', '.join(there)})"
            raise FolderRefused(f"{shown(str(folder), 500)} holds {what}; {_cure(folder, spec)}")
        if resume and (why := _not_to_go_on(folder, spec, there)):
            raise FolderRefused(f"{shown(str(folder), 500)} holds {why}; {_FRESH}")
        try:
            if overwrite:
                for name in there:
                    (folder / name).unlink()
            if not resume or SPEC not in there:
                storage.write(str(folder / SPEC), json.dumps(spec.json_dict(), indent=2).encode())
        except OSError as error:
            raise FolderRefused(f"{shown(str(folder), 500)} cannot be written: {_why(folder, error)}") from error
        yield folder


def _hold(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        who = f" (process {lock.read(20)})"
        message = f"another run trains in {shown(str(folder), 500)}{who}; wait for its end or name another folder"
        raise FolderRefused(message) from error
    with suppress(OSError):  # on a full disk nobody is told who holds it
        os.truncate(lock.fileno(), 0)
        os.write(lock.fileno(), str(os.getpid()).encode())


def _not_to_go_on(folder: Path, spec: RunSpec, there: list[str]) -> str | None:
    """Says what of another run, or of a finished one, going on would overwrite; None where nothing."""
    if SPEC in there:
        was = _spec_of(folder)
        if was is None:
            return f"a {SPEC} that cannot be read, perhaps another spec's run"
        if changed := differences(decisive_of(was), decisive(spec)):
            return f"a run of another spec: {changed}"
    elif there and _CHECKPOINT not in there:  # a checkpoint says itself what it is of
        return f"a run of another spec ({', '.join(there)})"
    if RESULT in there and _CHECKPOINT not in there:
        return "this run, finished, without a checkpoint to go on from"
    return None


def _what(folder: Path, spec: RunSpec) -> str:
    if _spec_of(folder) != spec.json_dict():
        return "a run of another spec"
    return "this run, finished" if (folder / RESULT).exists() else "this run, not finished"


def _cure(folder: Path, spec: RunSpec) -> str:
    same = _spec_of(folder) == spec.json_dict()
    return f"--resume goes on with it; or {_FRESH}" if same and not (folder / RESULT).exists() else _FRESH


def _spec_of(folder: Path) -> dict[str, Any] | None:
    try:
        said = json.loads((folder / SPEC).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return cast(dict[str, Any], said) if isinstance(said, dict) else None


def _why(folder: Path, error: OSError) -> str:
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            return f"{shown(str(place), 500)} is a file"
    return error.strerror or str(error)
