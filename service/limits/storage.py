"""Measures now and then how much each project stores."""

import asyncio
from collections import defaultdict
from typing import Any, cast

import structlog
from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from sqlalchemy import select, update

from service.db import Database
from service.jobs.tables import Job
from service.projects.tables import Project

_log = structlog.get_logger()


async def measure_for_ever(database: Database, storage_root: str, every_s: float) -> None:
    """Measures at once and then every so often; several processes may do so."""
    while True:
        try:
            await measure(database, storage_root)
        except Exception:  # a storage that is away; the last measurement stays
            _log.exception("cannot measure the storage")
        await asyncio.sleep(every_s)


async def measure(database: Database, storage_root: str) -> None:
    """Writes each project's bytes."""
    of_jobs = await asyncio.to_thread(_bytes_of_jobs, storage_root)
    of_projects: defaultdict[str, int] = defaultdict(int)
    async with database.transaction() as session:
        names = list((await session.execute(select(Project.name))).scalars())
        jobs = sorted(of_jobs)
        for start in range(0, len(jobs), 1000):
            some = jobs[start : start + 1000]
            for job, project in await session.execute(select(Job.id, Job.project).where(Job.id.in_(some))):
                of_projects[project] += of_jobs[job]
        for name in names:
            await session.execute(
                update(Project)
                .where(Project.name == name, Project.stored_bytes != of_projects[name])
                .values(stored_bytes=of_projects[name])
            )


def _bytes_of_jobs(storage_root: str) -> dict[str, int]:
    filesystem, root = cast(tuple[Any, str], url_to_fs(storage_root))
    folder = f"{root.rstrip('/')}/jobs"
    found: dict[str, Any] = filesystem.find(folder, detail=True) if filesystem.exists(folder) else {}
    total: defaultdict[str, int] = defaultdict(int)
    for path, info in found.items():
        total[path.removeprefix(f"{folder}/").partition("/")[0]] += int(info["size"] or 0)
    return total
