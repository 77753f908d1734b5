"""Which runs of a plan are done, or will be, by jobs that are there already."""

import json
from typing import Any, NamedTuple

from sqlalchemy import Text, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import RESULTS_VERSION, State
from service.jobs.tables import Job
from service.suites.plan import Key, Plan

_SETTINGS = text("""
    SELECT number - 1, md5((spec - 'seed' - 'resources')::text)
    FROM jsonb_array_elements(CAST(:specs AS jsonb)) WITH ORDINALITY AS given (spec, number)
""")
_TASK = cast(Job.spec["task"], Text)
_DATA = Job.result["provenance"]["data_hash"].astext


class Found(NamedTuple):
    """A job that a run can take."""

    job: str
    done: bool


async def already(session: AsyncSession, project: str, plan: Plan) -> dict[Key, Found]:
    """Returns, by run, the newest job of the project with equal settings and seed: a succeeded one where there is one,
    else one that waits or runs.

    A result counts while it is of this version of the core, and of the same data as the task's newest result.
    """
    settings = await _settings(session, plan)
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
            Job.seed.in_({run.seed for run in plan.runs}),
            Job.state.notin_((State.FAILED, State.CANCELLED)),
            Job.cancel_requested_at.is_(None),
        )
        .order_by(Job.id)
    )
    jobs = rows.all()
    current = await _current_data(session, project, plan) if jobs else {}
    found: dict[tuple[str, int], Found] = {}
    for row in jobs:
        done = row.state == State.SUCCEEDED
        if done and (row.version != str(RESULTS_VERSION) or row.data != current.get(row.task)):
            continue
        before = found.get((row.settings, row.seed))
        if before is None or done or not before.done:
            found[row.settings, row.seed] = Found(row.id, done)
    return {key: taken for key, said in settings.items() if (taken := found.get((said, key.seed)))}


async def _settings(session: AsyncSession, plan: Plan) -> dict[Key, str]:
    """`jobs.settings`, as Postgres would compute it, of each run that is not refused."""
    numbers: dict[tuple[str, str], int] = {}
    specs: list[dict[str, Any]] = []
    for run in plan.runs:
        if run.spec is not None and (run.row, run.task) not in numbers:
            numbers[run.row, run.task] = len(specs)
            specs.append(run.spec.json_dict())
    if not specs:
        return {}
    found = await session.execute(_SETTINGS, {"specs": json.dumps(specs)})
    by_number: dict[int, str] = {number: said for number, said in found}
    return {run.key: by_number[numbers[run.row, run.task]] for run in plan.runs if run.spec is not None}


async def _current_data(session: AsyncSession, project: str, plan: Plan) -> dict[str, str]:
    """Task section of a spec → hash of the data behind its newest result."""
    benchmark = Job.benchmark == plan.benchmark.name if plan.known else Job.benchmark.is_(None)
    newest = await session.execute(
        select(_TASK, func.max(Job.id))
        .where(
            benchmark,
            Job.phase == plan.request.phase,
            Job.task.in_(plan.tasks),
            Job.project == project,
            Job.state == State.SUCCEEDED,
        )
        .group_by(_TASK)
    )
    task_of: dict[str, str] = {job: task for task, job in newest}
    data = await session.execute(select(Job.id, _DATA).where(Job.id.in_(task_of)))
    return {task_of[job]: said for job, said in data}
