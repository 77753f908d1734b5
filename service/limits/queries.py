"""The limits of a project, and how much of them is used."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault, State
from service.db import Database
from service.jobs.tables import LEASED_JOBS, Job
from service.keys.auth import Caller
from service.keys.roles import Role
from service.problems import Invalid, TooMany
from service.projects.tables import Project
from service.settings import Settings

_PLENTY = 3_000
"""More than all processes of the service take within a second."""


@dataclass(frozen=True)
class Limits:
    """Limits of one project: its own, and the installation's where it has none."""

    max_queued: int
    max_running: int
    highest_priority: int
    default_max_runtime_s: float
    max_stored_bytes: int


async def of_project(session: AsyncSession, settings: Settings, name: str) -> Limits:
    """Returns the project's limits."""
    return limits_of(await session.get(Project, name), settings)


def limits_of(project: Project | None, settings: Settings) -> Limits:
    """Returns the project's own limits, and the settings' where it has none."""
    own = {field: getattr(project, field, None) for field in Limits.__dataclass_fields__}
    return Limits(**{field: getattr(settings, field) if value is None else value for field, value in own.items()})


async def used(session: AsyncSession, name: str) -> tuple[int, int]:
    """Returns how many jobs of the project are queued, and how many are running."""
    count = select(func.count()).where(Job.project == name)
    queued = (await session.execute(count.where(Job.state == State.QUEUED))).scalar_one()
    running = (await session.execute(count.where(text(LEASED_JOBS)))).scalar_one()
    return queued, running


async def full_projects(session: AsyncSession, settings: Settings) -> dict[str, int]:
    """Projects that have as many jobs running as they may, with how many that are."""
    running = select(Job.project, func.count().label("count")).where(text(LEASED_JOBS)).group_by(Job.project).subquery()
    full = await session.execute(
        select(Project.name, running.c.count)
        .join(running, running.c.project == Project.name)
        .where(running.c.count >= func.coalesce(Project.max_running, settings.max_running))
    )
    return {name: count for name, count in full}


async def check_room(session: AsyncSession, settings: Settings, name: str, more: int = 1) -> Limits:
    """Returns the project's limits where it may queue so many more jobs. Raises TooMany where it may not."""
    limits = await of_project(session, settings, name)
    queued = await _queued(session, name, limits.max_queued)
    if more > 1 and queued + more > limits.max_queued:
        raise TooMany(
            f"project {name} may have {limits.max_queued:,} jobs queued; it has {queued:,}, and these "
            f"would be {more:,} more; submit fewer at a time, or have an admin raise max_queued"
        )
    if queued >= limits.max_queued and more:
        raise TooMany(
            f"project {name} has {queued} jobs queued, as many as it may; try again when some have begun, "
            "or have an admin raise max_queued"
        )
    project = await session.get_one(Project, name)
    if project.stored_bytes >= limits.max_stored_bytes:
        raise TooMany(
            f"project {name} stores {project.stored_bytes:,} bytes of at most {limits.max_stored_bytes:,}; "
            "delete jobs that are no longer needed, or have an admin raise max_stored_bytes",
            retry_after_s=600,
        )
    return limits


async def check_room_for_one(database: Database, settings: Settings, project: Project) -> Limits:
    """Does `check_room` for one more job. While there is plenty of room, it is counted once a second only."""
    limits = limits_of(project, settings)

    async def read() -> "_Queued":
        async with database.lone() as session:
            return _Queued(await _queued(session, project.name, limits.max_queued))

    queued = await database.recent.get("queued", project.name, read)
    if queued.jobs + _PLENTY < limits.max_queued and project.stored_bytes < limits.max_stored_bytes:
        queued.jobs += 1
        return limits
    async with database.lone() as session:
        return await check_room(session, settings, project.name)


@dataclass
class _Queued:
    """How many jobs of a project were queued at the last count, and how many this process has taken since."""

    jobs: int


async def _queued(session: AsyncSession, name: str, most: int) -> int:
    """How many jobs of the project are queued; `most` stands for more."""
    waiting = select(Job.id).where(Job.project == name, Job.state == State.QUEUED).limit(most)
    return (await session.execute(select(func.count()).select_from(waiting.subquery()))).scalar_one()


def highest_priority(limits: Limits, caller: Caller) -> int:
    """Returns the highest priority that the caller may give a job."""
    return 100 if caller.role is Role.ADMIN else limits.highest_priority


def check_priority(limits: Limits, caller: Caller, priority: int | None) -> None:
    """Raises Invalid for a priority above the project's highest; admins may go up to 100."""
    if priority is not None and priority > (most := highest_priority(limits, caller)):
        message = f"at most {most} in this project, not {priority}; more takes an admin"
        raise Invalid("the request has faults", [Fault(pointer="/priority", code="out_of_range", message=message)])


def check_tags(settings: Settings, count: int) -> None:
    """Raises Invalid where there are too many."""
    if count > settings.max_tags:
        message = f"at most {settings.max_tags} tags, not {count}"
        raise Invalid("the request has faults", [Fault(pointer="/tags", code="out_of_range", message=message)])
