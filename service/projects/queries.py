"""Reads projects."""

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault
from service.problems import Invalid
from service.projects.tables import Project


async def open_project(session: AsyncSession, name: str, pointer: str) -> Project:
    """Returns a project that takes jobs and keys. Raises Invalid, with that pointer, for any other."""
    project = await session.get(Project, name)
    if project is None:
        message = f"there is no project {name!r}; an admin makes it with `pace project create {name}`"
        raise Invalid("the request has faults", [Fault(pointer=pointer, code="unknown_name", message=message)])
    if project.archived_at is not None:
        message = f"project {name!r} is archived and takes no jobs and no keys; an admin restores it"
        raise Invalid("the request has faults", [Fault(pointer=pointer, code="conflict", message=message)])
    return project
