"""Fetches the parts of a benchmark's data that are openly available into the layout that its source reads.

What is on the disk is never overwritten. Loads no torch.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pace_core.downloads import NO_ROOM, Told, download
from pace_core.spec import Benchmark, BenchmarkTask, DataPart, RunError, load_benchmarks
from pace_core.unpacking import unpack

LOCK = "pace-data.lock.json"
"""Beside the data: what came from where, with its SHA-256; a later fetch of the same address is held to it."""
_STAGING = ".pace-fetch"

Outcome = Literal["fetched", "there", "by_hand", "failed"]


@dataclass(frozen=True)
class Fetched:
    """The outcome for one part."""

    part: DataPart
    outcome: Outcome
    message: str


def parts_of(benchmark: Benchmark, task: BenchmarkTask | None) -> list[DataPart]:
    """Returns the parts that a task needs, or the benchmark; benchmarks that share their data share these."""
    owner = load_benchmarks().get(benchmark.data, benchmark)
    parts = benchmark.parts or owner.parts
    if task is None:
        return parts
    tasks = [task, *(other for other in benchmark.tasks if other.measured_with == task.name)]
    needed = {_data_set(each) for each in tasks}
    return [part for part in parts if not part.of or needed & set(part.of)]


def _data_set(task: BenchmarkTask) -> str:
    return str(task.params.get("task", task.name))


def fetch(
    benchmark: Benchmark, parts: list[DataPart], root: Path, told: Callable[[DataPart], Told] | None = None
) -> Iterator[Fetched]:
    """Yields what became of each part; one that fails keeps the others from nothing.

    Raises RunError where the root cannot be written, or another process fetches into it.
    """
    with _held(root) as staging:
        for part in parts:
            try:
                yield _fetch(benchmark, part, root, staging, told(part) if told else None)
            except RunError as error:
                yield Fetched(part, "failed", f"{error.message}{_or(part)}")
            except OSError as error:
                yield Fetched(part, "failed", _said(error, root))


def _fetch(benchmark: Benchmark, part: DataPart, root: Path, staging: Path, told: Told | None) -> Fetched:
    home = _home(part, root)
    if _there(benchmark, part, root, home):
        return Fetched(part, "there", f"{home / part.to} is there already, and was left as it is")
    for place in (home, home / part.to):
        if place.exists() and not place.is_dir():
            raise RunError("data_corrupt", f"{place} is no folder; move it away, since data belongs there")
    if not part.archive and not part.files:
        return Fetched(part, "by_hand", part.by_hand)
    made = staging / hashlib.sha256((part.archive or part.base).encode()).hexdigest()[:16]
    made.mkdir(exist_ok=True)
    if part.files:
        for name, sha256 in part.files.items():
            if not (home / part.to / name).exists():
                download(f"{part.base}/{name}", made / name, checksum=("sha256", sha256), told=told)
        _lay(made, home / part.to)
        how = f"{len(part.files)} files, SHA-256 as expected ({part.checksum})"
    else:
        how = _archive(part, root, made, home / part.to, told)
    shutil.rmtree(made, ignore_errors=True)
    return Fetched(part, "fetched", f"{home / part.to}: {how}")


def _archive(part: DataPart, root: Path, made: Path, to: Path, told: Told | None) -> str:
    """Downloads and unpacks; returns by what the archive was checked."""
    known = read_lock(root).get(part.archive, {}).get("sha256")
    checksum = ("sha256", part.sha256) if part.sha256 else ("md5", part.md5) if part.md5 else None
    if checksum is None and known:
        checksum = ("sha256", known)
    archive, folder = made / "archive", made / "unpacked"
    if not archive.exists():
        try:
            download(part.archive, archive, checksum=checksum, size=part.bytes, told=told)
        except RunError as error:
            if error.reason == "data_corrupt" and checksum == ("sha256", known) and not part.sha256:
                cure = f"what came first is in {root / LOCK}; take its entry out to accept what comes now"
                raise RunError("data_corrupt", f"{error.message}. {cure}") from None
            raise
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unpack(archive, folder)
    except RunError as error:  # its content does not change by unpacking it again
        archive.unlink()
        raise RunError(error.reason, f"{part.archive}: {error.message}") from None
    finally:
        if not archive.exists():
            shutil.rmtree(folder, ignore_errors=True)
    taken = folder / part.folder
    if not taken.is_dir():
        there = ", ".join(sorted(each.name for each in folder.iterdir())[:5])
        shutil.rmtree(made, ignore_errors=True)
        raise RunError("data_corrupt", f"{part.archive}: has no folder {part.folder}, but {there}; it has changed")
    _lay(taken, to)
    _record(root, part.archive, archive)
    if checksum is None:
        return f"nobody publishes a checksum; its SHA-256 is kept in {LOCK}, and a later fetch is held to it"
    by = part.checksum if part.sha256 or part.md5 else f"kept in {LOCK}"
    return f"{checksum[0].upper()} as expected ({by})"


def _home(part: DataPart, root: Path) -> Path:
    """The data set's folder, by the name that it has here already."""
    return next((root / name for name in part.homes if (root / name).is_dir()), root / (part.homes or [""])[0])


def _there(benchmark: Benchmark, part: DataPart, root: Path, home: Path) -> bool:
    if part.files:
        return all((home / part.to / name).exists() for name in part.files)
    if part.homes:
        return _holds_something(home / part.to)
    return all(any(_holds_something(root / name) for name in (each.name, *each.aliases)) for each in benchmark.trained)


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _lay(source: Path, to: Path) -> None:
    """Moves a folder to its place, or what is in it where the place is there; what is there stays."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        source.rename(to)
        return
    for each in sorted(source.iterdir()):
        if not (to / each.name).exists() or (each.is_dir() and not _holds_something(to / each.name)):
            each.rename(to / each.name)


def read_lock(root: Path) -> dict[str, Any]:
    """Returns URL → what came from there. Raises RunError for a file that is not ours."""
    try:
        said = json.loads((root / LOCK).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        said = None
    if not isinstance(said, dict) or not all(isinstance(each, dict) for each in said.values()):
        raise RunError("data_corrupt", f"{root / LOCK} is no object of files by address; remove it, or mend it")
    if not all(isinstance(each.get("sha256"), str) for each in said.values()):
        raise RunError("data_corrupt", f"{root / LOCK}: an entry has no sha256 as text; remove the entry, or mend it")
    return said


def _record(root: Path, url: str, archive: Path) -> None:
    with archive.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    kept = read_lock(root)
    kept[url] = {"sha256": sha256, "bytes": archive.stat().st_size, "fetched_at": now}
    new = root / f"{LOCK}.new"
    new.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", "utf-8")
    new.replace(root / LOCK)


@contextmanager
def _held(root: Path) -> Iterator[Path]:
    """The folder for what is not whole yet, held by one process at a time."""
    staging = root / _STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True)
        lock = (staging / "lock").open("a")
    except OSError as error:
        raise RunError("storage_failed", f"{root} cannot be written: {error.strerror}; name another --root") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError("storage_failed", f"another `data fetch` writes into {root}; wait for it") from None
        yield staging
        if os.listdir(staging) == ["lock"]:
            shutil.rmtree(staging, ignore_errors=True)


def _said(error: OSError, root: Path) -> str:
    if error.errno in NO_ROOM:
        return f"there is no room in {root} for the unpacked files; free some space, and the same command goes on"
    return f"{error.filename or root}: {error.strerror or error}"


def _or(part: DataPart) -> str:
    return f". Or: {part.by_hand}" if part.by_hand else ""
