"""Make, list, archive and restore projects."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.audit import log
from service.db import Transaction
from service.keys.auth import Admin, Caller, Reader
from service.problems import Conflict, NotFound
from service.projects.schemas import ProjectPatch, ProjectRequest, ProjectView
from service.projects.tables import Project
from service.wake import PROJECT, SUPPLY, notify

router = APIRouter(prefix="/v1/projects", tags=["projects"])

_Name = Annotated[str, Path(max_length=100)]


@router.post("", status_code=201, summary="Make a project")
async def post_project(request: Request, session: Transaction, caller: Admin, body: ProjectRequest) -> ProjectView:
    made = insert(Project).values(name=body.name).on_conflict_do_nothing().returning(Project)
    project = (await session.execute(made)).scalar_one_or_none()
    if project is None:
        raise Conflict(f"there is a project {body.name!r} already")
    log.record(session, request, caller, "project.create", body.name, body.name)
    notify(session, PROJECT)
    return await _view(session, project)


@router.get("", summary="List projects")
async def list_projects(session: Transaction, caller: Reader) -> dict[str, list[ProjectView]]:
    """Lists projects; for users and readers their own only."""
    query = select(Project).order_by(Project.name)
    if caller.bounded:
        query = query.where(Project.name == caller.project)
    return {"data": [ProjectView.model_validate(project) for project in (await session.execute(query)).scalars()]}


@router.get("/{name}", summary="Read a project")
async def get_project(session: Transaction, caller: Reader, name: _Name) -> ProjectView:
    return ProjectView.model_validate(await _find(session, caller, name))


@router.patch("/{name}", summary="Give a project limits of its own")
async def patch_project(
    request: Request, session: Transaction, caller: Admin, name: _Name, body: ProjectPatch
) -> ProjectView:
    project = await _find(session, caller, name, lock=True)
    changes = body.model_dump(exclude_unset=True)
    for field, value in changes.items():
        setattr(project, field, value)
    notify(session, PROJECT, SUPPLY)
    log.record(session, request, caller, "project.change", name, name, **changes)
    return await _view(session, project)


@router.post("/{name}/archive", summary="Let a project take no more jobs and keys")
async def archive(request: Request, session: Transaction, caller: Admin, name: _Name) -> ProjectView:
    """Its jobs stay, and what is queued still runs. Archiving again changes nothing."""
    project = await _find(session, caller, name, lock=True)
    if project.archived_at is None:
        project.archived_at = func.now()  # pyright: ignore[reportAttributeAccessIssue]
        log.record(session, request, caller, "project.archive", name, name)
        notify(session, PROJECT)
    return await _view(session, project)


@router.post("/{name}/restore", summary="Let an archived project take jobs and keys again")
async def restore(request: Request, session: Transaction, caller: Admin, name: _Name) -> ProjectView:
    project = await _find(session, caller, name, lock=True)
    if project.archived_at is not None:
        project.archived_at = None
        log.record(session, request, caller, "project.restore", name, name)
        notify(session, PROJECT)
    return await _view(session, project)


async def _find(session: AsyncSession, caller: Caller, name: str, *, lock: bool = False) -> Project:
    project = await session.get(Project, name, with_for_update=lock)
    if project is None or not caller.sees(name):
        raise NotFound(f"there is no project {name!r}, or this key does not see it")
    return project


async def _view(session: AsyncSession, project: Project) -> ProjectView:
    await session.flush()
    await session.refresh(project)
    return ProjectView.model_validate(project)
