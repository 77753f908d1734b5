"""Reads jobs."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Boolean, ColumnElement, false, func, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from pace_core.spec import Fault, State
from service.jobs.tables import WORDS, Attempt, Job
from service.keys.auth import Caller
from service.problems import Invalid, NotFound
from service.suites.tables import SuiteRun

_LOOKED_AT = 1_000
_Text = Annotated[str | None, Field(max_length=200)]


class JobFilters(BaseModel):
    """Which jobs to list; all given ones must hold."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    state: list[State] = []
    """Any of these."""
    project: _Text = None
    benchmark: _Text = None
    task: _Text = None
    """`digits` or `vtab-mini/digits`."""
    row: _Text = None
    owner: _Text = None
    tag: list[Annotated[str, Field(max_length=601)]] = Field(default=[], max_length=20)
    """`key` or `key=value`; all of these."""
    suite: _Text = None
    """Of this suite, those that it reuses too."""
    since: AwareDatetime | None = None
    """Submitted then or later; with its offset, such as 2026-11-27T09:30:00Z."""
    ended_since: AwareDatetime | None = None
    """Ended then or later."""
    search: _Text = None
    """Words with which words of the name, the row, the task or the id begin, whatever the case; all of these."""
    sort: Literal["newest", "oldest", "ended", "best"] = "newest"
    """By when they were submitted; by when they ended, the last first; by what they measured, the highest first. The
    last two list only jobs that have ended, or measured something."""
    limit: int = Field(default=20, ge=1, le=200)
    after: str | None = Field(default=None, max_length=500)
    """The `next_cursor` of the page before."""


async def find(session: AsyncSession, job_id: str, caller: Caller, *, lock: bool = False) -> Job:
    """Returns the job, its row locked where it is to be changed. Raises NotFound where the caller sees none."""
    job = await session.get(Job, job_id, with_for_update=lock, populate_existing=True)
    if job is None or not caller.sees(job.project):
        raise NotFound(f"there is no job {job_id!r}, or it belongs to a project that this key does not see")
    return job


async def attempts(session: AsyncSession, job_id: str) -> list[Attempt]:
    """Lists every attempt of the job, oldest first."""
    found = await session.execute(select(Attempt).where(Attempt.job == job_id).order_by(Attempt.number))
    return list(found.scalars())


async def page(session: AsyncSession, filters: JobFilters, caller: Caller) -> tuple[Sequence[Job], str | None]:
    """Returns one page of jobs and the cursor of the next one."""
    order = _ORDERS[filters.sort]
    query = select(Job).where(*_wanted(filters, caller)).order_by(*order.columns).limit(filters.limit + 1)
    if order.by is not None:
        query = query.where(order.by.is_not(None))
    if filters.after:
        query = query.where(_behind(filters, order))
    found = list((await session.execute(query)).scalars())
    shown = found[: filters.limit]
    return shown, _cursor(filters, order.place(shown[-1])) if len(found) > filters.limit else None


async def count_by_state(session: AsyncSession, filters: JobFilters, caller: Caller) -> dict[State, int]:
    """Counts the jobs that the filters leave, by state; states without any are left out."""
    query = select(Job.state, func.count()).where(*_wanted(filters, caller)).group_by(Job.state)
    return {State(state): count for state, count in await session.execute(query)}


class Line(NamedTuple):
    """Queued jobs that wait in the same way."""

    project: str
    suite: str | None
    lane: str
    not_before: datetime | None
    """Of the first that is due again, where they wait for their next attempt."""
    first: str
    """Id of the oldest."""
    jobs: int


async def queued_lines(session: AsyncSession, filters: JobFilters, caller: Caller) -> list[Line]:
    """Groups queued jobs that the filters leave, a thousand at most, by all that decides what they wait for."""
    columns = (Job.project, Job.suite, Job.lane, Job.not_before, Job.id)
    wanted = select(*columns).where(Job.state == State.QUEUED, *_wanted(filters, caller))
    some = wanted.order_by(Job.project, Job.id).limit(_LOOKED_AT).subquery().c  # as ix_jobs_state has them
    same = (some.project, some.suite, some.lane)
    counted = select(*same, func.min(some.not_before), func.min(some.id), func.count())
    return [Line(*row) for row in await session.execute(counted.group_by(*same, some.not_before.is_(None)))]


def _wanted(filters: JobFilters, caller: Caller) -> list[ColumnElement[bool]]:
    """Conditions of the jobs that the filters and the caller's key leave."""
    wanted: list[ColumnElement[bool]] = []
    if caller.bounded:
        wanted.append(Job.project == caller.project)
    for name in ("project", "row", "owner", "benchmark"):
        value = getattr(filters, name)
        if value is not None:
            wanted.append(getattr(Job, name) == value)
    if filters.task is not None:
        benchmark, slash, task = filters.task.partition("/")
        wanted += [Job.benchmark == benchmark, Job.task == task] if slash else [Job.task == benchmark]
    if filters.suite is not None:
        wanted.append(Job.id.in_(select(SuiteRun.job).where(SuiteRun.suite == filters.suite)))
    if filters.state:
        wanted.append(Job.state.in_(filters.state))
    for tag in filters.tag:
        key, equals, value = tag.partition("=")
        wanted.append(Job.tags.contains({key: value}) if equals else Job.tags.has_key(key))
    if filters.since is not None:
        wanted.append(Job.created_at >= filters.since)
    if filters.ended_since is not None:
        wanted.append(Job.ended_at >= filters.ended_since)
    if filters.search is not None:
        words = re.findall(r"[^\W_]+", filters.search)
        query = func.to_tsquery(literal_column("'simple'"), " & ".join(f"{word}:*" for word in words))
        wanted.append(literal_column(WORDS).op("@@", return_type=Boolean())(query) if words else false())
    return wanted


class _Order(NamedTuple):
    """An order of jobs that no two share a place in; `by` is None where it is that of their ids alone."""

    by: InstrumentedAttribute[Any] | None = None
    newest: bool = True

    @property
    def columns(self) -> list[ColumnElement[Any]]:
        id = Job.id.desc() if self.newest else Job.id.asc()
        return [id] if self.by is None else [self.by.desc(), id]

    def place(self, job: Job) -> list[str]:
        """Returns where the job stands, as a cursor says it."""
        return [job.id] if self.by is None else [str(getattr(job, self.by.key)), job.id]

    def behind(self, *place: str) -> ColumnElement[bool]:
        """Tells whether a job comes behind that place. Raises ValueError for a place of another order."""
        if self.by is None:
            (id,) = place
            return Job.id < id if self.newest else Job.id > id
        said, id = place
        value: Any = float(said) if self.by is Job.value else datetime.fromisoformat(said)
        return tuple_(self.by, Job.id) < tuple_(value, id)


_ORDERS = {
    "newest": _Order(),
    "oldest": _Order(newest=False),
    "ended": _Order(Job.ended_at),
    "best": _Order(Job.value),
}


def _cursor(filters: JobFilters, place: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([*place, _fingerprint(filters)]).encode()).decode().rstrip("=")


def _behind(filters: JobFilters, order: _Order) -> ColumnElement[bool]:
    try:
        raw: Any = json.loads(base64.urlsafe_b64decode(str(filters.after) + "=="))
        *place, fingerprint = raw
        if fingerprint == _fingerprint(filters) and all(isinstance(part, str) for part in place):
            return order.behind(*place)
    except (binascii.Error, ValueError, TypeError):
        pass
    message = "is not a cursor of a list with these filters; start again without it"
    raise Invalid("the request has faults", [Fault(pointer="?after", code="out_of_range", message=message)])


def _fingerprint(filters: JobFilters) -> str:
    said = filters.model_dump_json(exclude={"limit", "after"})
    return hashlib.sha256(said.encode()).hexdigest()[:12]
