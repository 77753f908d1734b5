"""Reads projects."""

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault
from service.db import Database
from service.problems import Invalid
from service.projects.tables import Project
from service.wake import PROJECT


async def open_project(session: AsyncSession, name: str, pointer: str) -> Project:
    """Returns a project that takes jobs and keys. Raises Invalid, with that pointer, for any other.

    It is not archived before the transaction has ended.
    """
    share = {"key_share": True, "read": True}
    return _open(await session.get(Project, name, with_for_update=share), name, pointer)


async def recent_open_project(database: Database, name: str, pointer: str) -> Project:
    """Does `open_project` with what was read of the project within the last second. The row is not to be changed."""

    async def read() -> Project | None:
        async with database.lone() as session:
            return await session.get(Project, name)

    return _open(await database.recent.get(PROJECT, name, read), name, pointer)


def _open(project: Project | None, name: str, pointer: str) -> Project:
    if project is None:
        message = f"there is no project {name!r}; an admin makes it with `pace project create {name}`"
        raise Invalid("the request has faults", [Fault(pointer=pointer, code="unknown_name", message=message)])
    if project.archived_at is not None:
        message = f"project {name!r} is archived and takes no jobs and no keys; an admin restores it"
        raise Invalid("the request has faults", [Fault(pointer=pointer, code="conflict", message=message)])
    return project
