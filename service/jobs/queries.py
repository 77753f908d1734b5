"""Reads jobs."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Boolean, Select, false, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault, State
from service.jobs.tables import WORDS, Attempt, Job
from service.keys.auth import Caller
from service.problems import Invalid, NotFound
from service.suites.tables import SuiteRun

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
    search: _Text = None
    """Words with which words of the name, the row, the task or the id begin, whatever the case; all of these."""
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
    """Returns one page of jobs, newest first, and the cursor of the next one."""
    query = _filtered(filters, caller).order_by(Job.id.desc()).limit(filters.limit + 1)
    if filters.after:
        query = query.where(Job.id < _position(filters))
    found = list((await session.execute(query)).scalars())
    shown = found[: filters.limit]
    return shown, _cursor(filters, shown[-1].id) if len(found) > filters.limit else None


def _filtered(filters: JobFilters, caller: Caller) -> Select[Job]:
    query = select(Job)
    if caller.bounded:
        query = query.where(Job.project == caller.project)
    for name in ("project", "row", "owner", "benchmark"):
        value = getattr(filters, name)
        if value is not None:
            query = query.where(getattr(Job, name) == value)
    if filters.task is not None:
        benchmark, slash, task = filters.task.partition("/")
        query = (
            query.where(Job.benchmark == benchmark, Job.task == task) if slash else query.where(Job.task == benchmark)
        )
    if filters.suite is not None:
        query = query.where(Job.id.in_(select(SuiteRun.job).where(SuiteRun.suite == filters.suite)))
    if filters.state:
        query = query.where(Job.state.in_(filters.state))
    for tag in filters.tag:
        key, equals, value = tag.partition("=")
        query = query.where(Job.tags.contains({key: value}) if equals else Job.tags.has_key(key))
    if filters.since is not None:
        query = query.where(Job.created_at >= filters.since)
    if filters.search is not None:
        words = re.findall(r"[^\W_]+", filters.search)
        wanted = func.to_tsquery(literal_column("'simple'"), " & ".join(f"{word}:*" for word in words))
        query = query.where(literal_column(WORDS).op("@@", return_type=Boolean())(wanted) if words else false())
    return query


def _cursor(filters: JobFilters, last: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([last, _fingerprint(filters)]).encode()).decode().rstrip("=")


def _position(filters: JobFilters) -> str:
    try:
        raw: Any = json.loads(base64.urlsafe_b64decode(str(filters.after) + "=="))
        last, fingerprint = raw
    except (binascii.Error, ValueError, TypeError):
        last, fingerprint = "", ""
    if not isinstance(last, str) or fingerprint != _fingerprint(filters):
        message = "is not a cursor of a list with these filters; start again without it"
        raise Invalid("the request has faults", [Fault(pointer="?after", code="out_of_range", message=message)])
    return last


def _fingerprint(filters: JobFilters) -> str:
    said = filters.model_dump_json(exclude={"limit", "after"})
    return hashlib.sha256(said.encode()).hexdigest()[:12]
