"""Finds the jobs that did already, or will do, what is asked for."""

import json
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Text, cast, func, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import RESULTS_VERSION, RunSpec, State, find_task
from service.jobs.tables import Job

K = TypeVar("K", bound=Hashable)
_SETTINGS = text("""
    SELECT number - 1, md5((spec - 'seed' - 'resources')::text)
    FROM jsonb_array_elements(CAST(:specs AS jsonb)) WITH ORDINALITY AS given (spec, number)
""")
_TASK = cast(Job.spec["task"], Text)
_DATA = Job.result["provenance"]["data_hash"].astext


class Found(NamedTuple):
    """A job of equal settings and seed."""

    job: str
    done: bool


async def equal_jobs(
    session: AsyncSession,
    project: str,
    specs: Mapping[K, RunSpec],
    group: Callable[[K], Hashable] = lambda key: key,
    label: str | None = None,
) -> dict[K, Found]:
    """Returns by spec the newest job of the project with equal settings and seed: a succeeded one where there is one,
    else one that waits or runs. Specs of one group differ by their seeds alone. `label`: only jobs with
    that label in tables.

    A result counts while it is of this version of the core, and of the same data as the task's newest result.
    """
    settings = await _settings(session, specs, group)
    rows = await session.execute(
        select(
            *(Job.settings, Job.seed, Job.id, Job.state),
            _TASK.label("task"),
            _DATA.label("data"),
            Job.result["provenance"]["results_version"].astext.label("version"),
        )
        .where(
            Job.project == project,
            Job.settings.in_(set(settings.values())),
            Job.seed.in_({spec.seed for spec in specs.values()}),
            Job.state.notin_((State.FAILED, State.CANCELLED)),
            Job.cancel_requested_at.is_(None),
            true() if label is None else Job.row == label,
        )
        .order_by(Job.id)
    )
    jobs = rows.all()
    current = await _current_data(session, project, specs.values()) if jobs else {}
    found: dict[tuple[str, int], Found] = {}
    for row in jobs:
        done = row.state == State.SUCCEEDED
        if done and (row.version != str(RESULTS_VERSION) or row.data != current.get(row.task)):
            continue
        before = found.get((row.settings, row.seed))
        if before is None or done or not before.done:
            found[row.settings, row.seed] = Found(row.id, done)
    return {key: taken for key, said in settings.items() if (taken := found.get((said, specs[key].seed)))}


async def done_already(session: AsyncSession, project: str, spec: RunSpec, label: str) -> str | None:
    """Returns the newest job of the project that did this run under that label; None where there is none."""
    found = (await equal_jobs(session, project, {label: spec}, label=label)).get(label)
    return found.job if found and found.done else None


async def _settings(session: AsyncSession, specs: Mapping[K, RunSpec], group: Callable[[K], Hashable]) -> dict[K, str]:
    """`jobs.settings`, as Postgres would compute it, of each spec."""
    numbers: dict[Hashable, int] = {}
    different: list[dict[str, Any]] = []
    for key, spec in specs.items():
        if group(key) not in numbers:
            numbers[group(key)] = len(different)
            different.append(spec.json_dict())
    if not different:
        return {}
    found = await session.execute(_SETTINGS, {"specs": json.dumps(different)})
    by_number: dict[int, str] = {number: said for number, said in found}
    return {key: by_number[numbers[group(key)]] for key in specs}


async def _current_data(session: AsyncSession, project: str, specs: Collection[RunSpec]) -> dict[str, str]:
    """Task section of a spec → hash of the data behind its newest result."""
    tasks = {spec.task.name: find_task(spec.task.name) for spec in specs}
    benchmarks = {found[0].name for found in tasks.values() if found}
    newest = await session.execute(
        select(_TASK, func.max(Job.id))
        .where(
            Job.benchmark.in_(benchmarks) if benchmarks else Job.benchmark.is_(None),
            Job.phase.in_({spec.task.phase for spec in specs}),
            Job.task.in_({found[1].name if found else name for name, found in tasks.items()}),
            Job.project == project,
            Job.state == State.SUCCEEDED,
        )
        .group_by(_TASK)
    )
    task_of: dict[str, str] = {job: task for task, job in newest}
    data = await session.execute(select(Job.id, _DATA).where(Job.id.in_(task_of)))
    return {task_of[job]: said for job, said in data}
