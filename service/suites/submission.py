"""From a plan to queued jobs: all of them in one transaction."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, State
from service.clusters.fit import seen_slots
from service.ids import new_id, new_ids
from service.jobs import ledger
from service.jobs.needs import Needs
from service.jobs.schemas import JobRequest
from service.jobs.submission import again, new_job, project_of, start_of
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.limits.queries import check_priority, check_room, check_tags
from service.problems import Conflict
from service.projects.queries import open_project
from service.settings import Settings
from service.suites.cost import costs
from service.suites.plan import Key, Plan, Run
from service.suites.reuse import already
from service.suites.schemas import PlannedRun, SuiteExtension, SuitePlan, SuiteRequest
from service.suites.tables import Suite, SuiteRun


async def planned(
    session: AsyncSession, plan: Plan, caller: Caller, catalogue: Catalogue, settings: Settings
) -> SuitePlan:
    """Returns what the suite would do, and stores nothing."""
    request = plan.request
    project = (await project_of(session, request.project, caller)).name
    found = await already(session, project, plan) if request.reuse else {}
    cost = await costs(session, project, plan, catalogue)
    runs: list[PlannedRun] = []
    for run in plan.runs:
        taken = found.get(run.key)
        action = "refused" if run.spec is None else "new" if taken is None else "reused" if taken.done else "shared"
        runs.append(
            PlannedRun(
                row=run.row,
                task=run.task,
                seed=run.seed,
                action=action,
                job=taken.job if taken else None,
                reason=run.refused,
                seconds=cost[run.row, run.task].seconds if run.spec else None,
            )
        )
    new = [run for run in runs if run.action == "new"]
    known = [run.seconds for run in new if run.seconds is not None]
    seconds = sum(known) if len(known) == len(new) else None
    slots = await seen_slots(session, settings.worker_seen_s)
    first = next((r.spec for r, said in zip(plan.runs, runs, strict=True) if said.action == "new" and r.spec), None)
    probe = new_job(first, catalogue) if first else None
    needs = Needs.of_lane(probe.lane) if probe else None
    count = slots.fitting(needs)
    at_once = min(count, request.max_parallel or count)
    return SuitePlan(
        benchmark=plan.benchmark.name if plan.known else None,
        rows=plan.rows,
        tasks=plan.tasks,
        seeds=list(dict.fromkeys(run.seed for run in plan.runs)),
        runs=runs,
        new=len(new),
        reused=sum(run.action == "reused" for run in runs),
        shared=sum(run.action == "shared" for run in runs),
        refused=sum(run.action == "refused" for run in runs),
        slot_minutes=None if seconds is None else seconds / 60,
        measured=sum(cost[run.row, run.task].measured for run in new),
        slots=count,
        minutes=None if seconds is None or not at_once else seconds / 60 / min(at_once, max(len(new), 1)),
        waiting_for=slots.lacking(needs) if needs else None,
    )


async def submit(session: AsyncSession, plan: Plan, caller: Caller, catalogue: Catalogue, settings: Settings) -> Suite:
    """Stores the suite and queues its jobs. Raises TooMany where its project has no room for them."""
    request = plan.request
    check_tags(settings, len(request.tags))
    suite = Suite(
        id=new_id("suite"),
        project=(await project_of(session, request.project, caller)).name,
        owner=caller.owner,
        name=request.name,
        benchmark=plan.benchmark.name if plan.known else None,
        phase=request.phase,
        request=kept_request(plan),
        max_parallel=request.max_parallel,
        stop_after=request.stop_after,
    )
    session.add(suite)
    await session.flush()
    await fill(session, suite, plan, caller, catalogue, settings)
    return suite


async def fill(
    session: AsyncSession, suite: Suite, plan: Plan, caller: Caller, catalogue: Catalogue, settings: Settings
) -> int:
    """Adds the runs of the plan that the suite does not have, or whose jobs were deleted; how many jobs are new."""
    request = plan.request
    has = await session.execute(
        select(SuiteRun.row, SuiteRun.task, SuiteRun.seed, SuiteRun.job, SuiteRun.refused).where(
            SuiteRun.suite == suite.id
        )
    )
    kept = {Key(row, task, seed) for row, task, seed, job, refused in has if job or refused}
    due = [run for run in plan.runs if run.key not in kept]
    if not due:
        return 0
    found = await already(session, suite.project, plan) if request.reuse else {}
    fresh = [run for run in due if run.spec is not None and run.key not in found]
    limits = await check_room(session, settings, suite.project, len(fresh))
    check_priority(limits, caller, request.priority)
    cost = await costs(session, suite.project, plan, catalogue)
    starts = await _starts(session, request, fresh, caller)
    jobs: list[Job] = []
    for run, id in zip(fresh, new_ids("job", len(fresh)), strict=True):
        assert run.spec is not None
        job = new_job(run.spec, catalogue, suite.id if suite.max_parallel else "")
        job.id, job.suite, job.project, job.owner = id, suite.id, suite.project, suite.owner
        job.name, job.row, job.tags, job.priority = "", run.row, dict(request.tags), request.priority
        job.max_attempts = request.max_attempts
        job.max_runtime_s = request.max_runtime_s or limits.default_max_runtime_s
        job.init_uri = starts.get(run.spec.init_from or "")
        jobs.append(job)
    await ledger.submit_all(session, jobs)
    made = {run.key: job.id for run, job in zip(fresh, jobs, strict=True)}
    deleted = (SuiteRun.suite == suite.id, SuiteRun.job.is_(None), SuiteRun.refused.is_(None))
    await session.execute(delete(SuiteRun).where(*deleted))
    rows: list[dict[str, Any]] = [
        {
            "suite": suite.id,
            **run.key._asdict(),
            "job": made.get(run.key) or (found[run.key].job if run.key in found else None),
            "reused": run.key in found,
            "refused": run.refused,
            "seconds": cost[run.row, run.task].seconds if run.spec else None,
        }
        for run in due
    ]
    await session.execute(insert(SuiteRun), rows)
    return len(fresh)


async def _starts(
    session: AsyncSession, request: SuiteRequest, runs: Iterable[Run], caller: Caller
) -> dict[str, str | None]:
    """Source of a start → its adapter's URL, of all runs that begin with an earlier job's adapter."""
    by_source = {run.spec.init_from: run.spec for run in runs if run.spec and run.spec.init_from}
    asked = JobRequest(overrides=request.overrides)
    return {source: await start_of(session, asked, spec, caller) for source, spec in by_source.items()}


async def retry(session: AsyncSession, suite: Suite, catalogue: Catalogue, settings: Settings) -> int:
    """Queues a new job for each run whose job failed or was cancelled; how many there are."""
    ended = await session.execute(
        select(Job)
        .join(SuiteRun, SuiteRun.job == Job.id)
        .where(SuiteRun.suite == suite.id, Job.state.in_((State.FAILED, State.CANCELLED)))
        .order_by(Job.id)
    )
    old = ended.scalars().all()
    if not old:
        return 0
    await open_project(session, suite.project, "/project")
    await check_room(session, settings, suite.project, len(old))
    jobs: list[Job] = []
    for job, id in zip(old, new_ids("job", len(old)), strict=True):
        new = again(job, catalogue)
        new.id, new.suite = id, suite.id
        new.lane = Needs.of_lane(new.lane)._replace(suite=suite.id if suite.max_parallel else "").lane
        jobs.append(new)
    await ledger.submit_all(session, jobs)
    for job in jobs:
        await session.execute(
            update(SuiteRun)
            .where(SuiteRun.suite == suite.id, SuiteRun.job == job.retry_of)
            .values(job=job.id, reused=False)
        )
    return len(jobs)


async def cancel(session: AsyncSession, suite: Suite) -> None:
    """Ends what the suite has submitted: at once what waits, the rest after the step that runs."""
    live = select(Job.id).where(Job.suite == suite.id, Job.ended_at.is_(None)).order_by(Job.id).with_for_update()
    ids = (await session.execute(live)).scalars().all()
    await ledger.request_all(session, ids, cancel=True)
    await ledger.cancel_all_idle(session, ids, "The suite was cancelled.")
    await mark(session, suite, cancel_requested_at=func.now())


async def mark(session: AsyncSession, suite: Suite, **values: Any) -> None:
    """Writes fields of the suite."""
    await session.execute(update(Suite).where(Suite.id == suite.id).values(**values))
    await session.refresh(suite)


def extended(suite: Suite, more: SuiteExtension) -> SuiteRequest:
    """Returns the suite's request with what it is to have besides. Raises Conflict where labels would change."""
    asked = request_of(suite)
    if more.backbones and len(asked.backbones) < 2:
        raise Conflict("a suite of one backbone names none in its labels; submit a new one, which reuses what is done")
    fields = ("tasks", "rows", "backbones", "seeds")
    both = {name: [*getattr(asked, name), *getattr(more, name)] for name in fields}
    return asked.model_copy(update={name: _once(values) for name, values in both.items()})


def _once(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]


def kept_request(plan: Plan) -> dict[str, Any]:
    """Returns the request as it is kept: every task by name, so that a benchmark that grows later changes no suite, and
    the rows' labels."""
    said = plan.request.model_dump(mode="json") | {"labels": plan.rows}
    return said | {"benchmark": plan.benchmark.name, "tasks": plan.tasks} if plan.known else said


def request_of(suite: Suite) -> SuiteRequest:
    """Returns the request that the suite keeps."""
    return SuiteRequest.model_validate({key: value for key, value in suite.request.items() if key != "labels"})
