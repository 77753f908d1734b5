"""Measures what each project stores, and removes what nobody needs any more."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import delete, func, select, update

from pace_core.spec import State
from service.db import Database
from service.events.tables import DeletedJob
from service.jobs.files import delete_files
from service.jobs.tables import Job
from service.projects.tables import Project
from service.storage.root import opened

_CHECKPOINT = re.compile(r"([0-9]+)/checkpoint\.safetensors")
_PART = re.compile(r"\.[0-9a-f]{8}\.part$")
_PART_S = 86_400.0
"""What was begun so long ago and never moved to its place is of a writer that was killed."""
_DELETED_S = 7 * 86_400.0
"""So long after a job was deleted, what a worker that was cut off still wrote of it is removed too."""
_log = structlog.get_logger()

Files = Mapping[str, Mapping[str, int]]
"""Job → path within the job → bytes."""


async def look_after_for_ever(database: Database, storage_root: str, every_s: float, keep_checkpoints_s: float) -> None:
    """Measures and tidies at once and then every so often; several processes may do so."""
    while True:
        try:
            await look_after(database, storage_root, keep_checkpoints_s)
        except Exception:  # a storage that is away; the last measurement stays
            _log.exception("cannot look after the storage")
        await asyncio.sleep(every_s)


async def look_after(database: Database, storage_root: str, keep_checkpoints_s: float) -> None:
    """Removes what is left of deleted jobs and of killed writers, and checkpoints that no attempt can need; writes each
    project's bytes."""
    files, parts = await asyncio.to_thread(_files, storage_root)
    gone = await _sweep_deleted(database, storage_root, files)
    of_projects: defaultdict[str, int] = defaultdict(int)
    unknown: list[str] = []
    jobs = sorted(set(files) - gone)
    long_ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, keep_checkpoints_s)
    for start in range(0, len(jobs), 1000):
        some = jobs[start : start + 1000]
        query = select(Job.id, Job.project, Job.state, (Job.ended_at < long_ago).label("long_ago"))
        async with database.transaction() as session:
            found = {row.id: row for row in await session.execute(query.where(Job.id.in_(some)))}
        unknown += [job for job in some if job not in found]
        for job, row in found.items():
            spare = _spare_checkpoints(files[job], row.state == State.SUCCEEDED or bool(row.long_ago)) + parts[job]
            await asyncio.to_thread(_remove, storage_root, job, spare)
            of_projects[row.project] += sum(files[job].values()) - sum(files[job][path] for path in spare)
    if unknown:  # of another database, perhaps: whose they are is not ours to say
        _log.warning("the storage has folders of jobs unknown here", count=len(unknown), first=unknown[0])
    async with database.transaction() as session:
        for name in list((await session.execute(select(Project.name))).scalars()):
            await session.execute(
                update(Project)
                .where(Project.name == name, Project.stored_bytes != of_projects[name])
                .values(stored_bytes=of_projects[name])
            )


async def _sweep_deleted(database: Database, storage_root: str, files: Files) -> set[str]:
    """Deletes the files of jobs whose rows are gone, where the process that deleted them did not come to it."""
    old = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _DELETED_S)
    async with database.transaction() as session:
        gone = {job for job in (await session.execute(select(DeletedJob.id))).scalars() if job in files}
        await session.execute(delete(DeletedJob).where(DeletedJob.at < old, DeletedJob.id.not_in(gone)))
    for job in sorted(gone):
        await delete_files(storage_root, job)
        _log.info("files of a deleted job removed", job=job)
    return gone


def _spare_checkpoints(paths: Collection[str], all_of_them: bool) -> list[str]:
    """The checkpoints from which nothing goes on: all of a job that is done with, else all but the newest attempt's."""
    found = sorted((int(match[1]), path) for path in paths if (match := _CHECKPOINT.fullmatch(path)))
    return [path for _, path in (found if all_of_them else found[:-1])]


def _files(storage_root: str) -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """All files with their bytes; and those that were begun long ago and never came to their end. Both by job."""
    filesystem, root = opened(storage_root)
    filesystem.invalidate_cache()
    folder = f"{root}/jobs"
    found: dict[str, Any] = filesystem.find(folder, detail=True) if filesystem.exists(folder) else {}
    of_jobs: defaultdict[str, dict[str, int]] = defaultdict(dict)
    parts: defaultdict[str, list[str]] = defaultdict(list)
    now = time.time()
    for path, info in found.items():
        job, _, file = path.removeprefix(f"{folder}/").partition("/")
        of_jobs[job][file] = int(info["size"] or 0)
        if _PART.search(file) and now - _written_at(info, now) > _PART_S:
            parts[job].append(file)
    return of_jobs, parts


def _written_at(info: Mapping[str, Any], otherwise: float) -> float:
    """Seconds since 1970, as a folder or an object store says it."""
    at: Any = info.get("mtime") or info.get("LastModified") or info.get("created") or otherwise
    return at.timestamp() if isinstance(at, datetime) else float(at)


def _remove(storage_root: str, job: str, paths: Iterable[str]) -> None:
    filesystem, root = opened(storage_root)
    for path in paths:
        with suppress(FileNotFoundError):  # another process was quicker
            filesystem.rm_file(f"{root}/jobs/{job}/{path}")
