"""Reads data sets."""

from collections.abc import Collection, Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import RunResult, State
from pace_core.spec.leases import Upload
from service.datasets import parts
from service.datasets.schemas import DatasetView
from service.datasets.tables import Dataset
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.problems import NotFound
from service.settings import Settings


async def find(session: AsyncSession, id: str, caller: Caller, *, lock: bool = False) -> Dataset:
    """Returns the data set. Raises NotFound where the caller sees none."""
    found = await session.get(Dataset, id, with_for_update=lock, populate_existing=True)
    if found is None or not caller.sees(found.project):
        raise NotFound(f"there is no data set {id!r}, or it belongs to a project that this key does not see")
    return found


async def view(session: AsyncSession, dataset: Dataset, settings: Settings) -> DatasetView:
    """Returns the data set as clients see it."""
    job = await session.get(Job, dataset.job) if dataset.job else None
    received = dataset.bytes
    if dataset.completed_at is None:
        received = sum(size for _, size in await parts.found(settings.storage_root, dataset.id))
    result = RunResult.model_validate(job.result) if job and job.result else None
    failed = job is not None and job.state in (State.FAILED, State.CANCELLED)
    done = dataset.completed_at is not None and (job is None or job.state == State.SUCCEEDED)
    return DatasetView(
        id=dataset.id,
        project=dataset.project,
        owner=dataset.owner,
        name=dataset.name,
        bytes=dataset.bytes,
        sha256=dataset.sha256,
        received=received,
        part_bytes=settings.max_report_bytes,
        state="receiving" if dataset.completed_at is None else "failed" if failed else "ready" if done else "checking",
        job=dataset.job,
        message=job.message if job and failed else None,
        data=result.data if result else None,
        created_at=dataset.created_at,
    )


async def stored(session: AsyncSession, project: str) -> int:
    """Returns the bytes of the project's uploads, those that are announced included."""
    total = await session.execute(select(func.coalesce(func.sum(Dataset.bytes), 0)).where(Dataset.project == project))
    return int(total.scalar_one())


async def uploads_of(session: AsyncSession, settings: Settings, jobs: Mapping[str, str]) -> dict[str, Upload]:
    """Returns job → the upload that it names; `jobs`: job → name. Those of other projects are not found."""
    names: Collection[str] = set(jobs.values())
    if not names:
        return {}
    rows = await session.execute(
        select(Job.id, Dataset)
        .join(Dataset, Dataset.project == Job.project)
        .where(Job.id.in_(jobs), Dataset.name.in_(names), Dataset.completed_at.is_not(None))
    )
    return {
        job: Upload(id=dataset.id, name=dataset.name, sha256=dataset.sha256, parts=await _parts(settings, dataset))
        for job, dataset in rows.all()
        if jobs[job] == dataset.name
    }


async def _parts(settings: Settings, dataset: Dataset) -> list[str]:
    folder = parts.folder_of(settings.storage_root, dataset.id)
    return [f"{folder}/{name}" for name, _ in await parts.found(settings.storage_root, dataset.id)]
