"""Announce, send, finish, list and delete uploads of data sets."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault, validate
from service.audit import log
from service.datasets import parts
from service.datasets.queries import find, stored, view
from service.datasets.schemas import DatasetPage, DatasetRequest, DatasetView
from service.datasets.tables import SOURCE, Dataset
from service.db import Transaction
from service.ids import new_id
from service.jobs import ledger
from service.jobs.ledger import Submission
from service.jobs.submission import new_job, project_of
from service.keys.auth import Reader, User
from service.limits.queries import check_room, limits_of
from service.paging import newest_first
from service.problems import Conflict, Invalid, NotFound, TooMany
from service.settings import Settings

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

_Id = Annotated[str, Path(max_length=100)]


@router.post(
    "",
    status_code=201,
    responses={200: {"model": DatasetView, "description": "It was announced before"}},
    summary="Announce an upload",
)
async def post_dataset(
    request: Request, response: Response, session: Transaction, caller: User, body: DatasetRequest
) -> DatasetView:
    """Announces an archive, whose parts follow. Announced again with the same content, it is the same upload, and
    `received` says where to go on."""
    settings: Settings = request.app.state.settings
    project = await project_of(session, body.project, caller)
    # of two who announce the same name, one is second; both share the project's row, so neither could have it alone
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"datasets/{project.name}", 0))))
    there = await _named(session, project.name, body.name)
    if there is not None:
        if (there.sha256, there.bytes) != (body.sha256, body.bytes):
            message = (
                f"project {project.name} has another data set {body.name!r}; give this one another name, or delete it"
            )
            raise Invalid("the request has faults", [Fault(pointer="/name", code="conflict", message=message)])
        response.status_code = 200
        await _touch(session, there.id)
        return await view(session, there, settings)
    limit = limits_of(project, settings).max_stored_bytes
    has = project.stored_bytes + await stored(session, project.name)
    if has + body.bytes > limit:
        raise TooMany(
            f"project {project.name} may store {limit:,} bytes and has {has:,}; delete jobs or data sets, or have an "
            "admin raise max_stored_bytes"
        )
    made = Dataset(
        id=new_id("ds"),
        project=project.name,
        owner=caller.owner,
        name=body.name,
        bytes=body.bytes,
        sha256=body.sha256,
    )
    session.add(made)
    await session.flush()
    await session.refresh(made)
    log.record(session, request, caller, "dataset.announce", made.id, made.project, name=made.name, bytes=made.bytes)
    return await view(session, made, settings)


@router.put("/{dataset_id}/parts/{offset}", status_code=204, summary="Send a part")
async def put_part(
    request: Request, session: Transaction, caller: User, dataset_id: _Id, offset: Annotated[int, Path(ge=0, lt=2**50)]
) -> None:
    """Stores the body as the archive's bytes from `offset` on. Parts begin at multiples of `part_bytes`; all but the
    last have as many. A part may be sent again."""
    settings: Settings = request.app.state.settings
    content = await request.body()  # before the database is asked: who sends slowly holds no transaction
    dataset = await find(session, dataset_id, caller)
    if dataset.completed_at is not None:
        raise Conflict(f"all of {dataset.name!r} is there already")
    size = settings.max_report_bytes
    if offset % size or offset >= dataset.bytes:
        raise _invalid("/offset", f"must be a multiple of {size:,} below {dataset.bytes:,}")
    expected = min(size, dataset.bytes - offset)
    if len(content) != expected:
        raise _invalid("", f"the part at {offset:,} has {expected:,} bytes, and {len(content):,} were sent")
    await parts.write(settings.storage_root, dataset.id, offset, content)
    if not await _touch(session, dataset.id):  # deleted meanwhile, or given up as abandoned
        await parts.delete(settings.storage_root, dataset.id)
        raise NotFound(f"data set {dataset.name!r} was deleted; announce it again")


@router.post("/{dataset_id}/complete", summary="Finish an upload")
async def complete(request: Request, session: Transaction, caller: User, dataset_id: _Id) -> DatasetView:
    """Says that all parts are sent. A job is queued that counts, hashes and decodes the images on a worker; jobs may
    name the data set from now on."""
    settings: Settings = request.app.state.settings
    dataset = await find(session, dataset_id, caller, lock=True)
    if dataset.completed_at is not None:
        return await view(session, dataset, settings)
    received = sum(size for _, size in await parts.found(settings.storage_root, dataset.id))
    if received != dataset.bytes:
        raise Conflict(f"{received:,} of {dataset.bytes:,} bytes are there; send the part at {received:,}")
    await check_room(session, settings, dataset.project)
    catalogue = request.app.state.catalogue()
    spec = {
        "task": {"name": f"{dataset.name} (check)", "source": SOURCE, "dataset": dataset.name},
        "method": {"name": "linear"},
        "training": {"epochs": 0},
    }
    job = new_job(validate(spec, catalogue), catalogue)
    job.project, job.owner, job.row = dataset.project, caller.owner, "check"
    job.name, job.tags, job.priority, job.max_attempts = f"check of {dataset.name}", {}, 50, 3
    job.max_runtime_s = settings.default_max_runtime_s
    await ledger.submit_all(session, [Submission(job)])
    await session.flush()
    dataset.job, dataset.completed_at = job.id, func.now()  # pyright: ignore[reportAttributeAccessIssue]
    await session.flush()
    await session.refresh(dataset)
    log.record(session, request, caller, "dataset.complete", dataset.id, dataset.project, name=dataset.name)
    return await view(session, dataset, settings)


@router.get("", summary="List data sets, newest first")
async def list_datasets(
    request: Request,
    session: Transaction,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> DatasetPage:
    """Pages by cursor: pass `next_cursor` as `after`."""
    query = select(Dataset)
    if caller.bounded:
        query = query.where(Dataset.project == caller.project)
    found, cursor = await newest_first(session, query, Dataset.id, "ds", limit, after)
    views = [await view(session, each, request.app.state.settings) for each in found]
    return DatasetPage(data=views, has_more=cursor is not None, next_cursor=cursor)


@router.get("/{dataset_id}", summary="Read a data set")
async def get_dataset(request: Request, session: Transaction, caller: Reader, dataset_id: _Id) -> DatasetView:
    return await view(session, await find(session, dataset_id, caller), request.app.state.settings)


@router.delete("/{dataset_id}", status_code=204, summary="Delete a data set")
async def delete_dataset(request: Request, session: Transaction, caller: User, dataset_id: _Id) -> None:
    """Deletes it with its files. Jobs that ran on it keep their results; those that wait for it will fail."""
    dataset = await find(session, dataset_id, caller, lock=True)
    await session.delete(dataset)
    log.record(session, request, caller, "dataset.delete", dataset.id, dataset.project, name=dataset.name)
    await session.flush()
    await parts.delete(request.app.state.settings.storage_root, dataset_id)


async def _touch(session: AsyncSession, id: str) -> bool:
    """Says that somebody goes on with the upload; whether it is there."""
    touched = update(Dataset).where(Dataset.id == id).values(touched_at=func.now()).returning(Dataset.id)
    return (await session.execute(touched)).scalar_one_or_none() is not None


async def _named(session: AsyncSession, project: str, name: str) -> Dataset | None:
    found = await session.execute(select(Dataset).where(Dataset.project == project, Dataset.name == name))
    return found.scalar_one_or_none()


def _invalid(pointer: str, message: str) -> Invalid:
    return Invalid("the request has faults", [Fault(pointer=pointer, code="out_of_range", message=message)])
