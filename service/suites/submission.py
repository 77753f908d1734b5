"""Submission of a plan as queued jobs: all of them in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import delete, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, RunSpec, State, merged, validate
from service.clusters.needs import Needs
from service.ids import new_id, new_ids
from service.jobs import ledger
from service.jobs.cost import cost_of, rates_of
from service.jobs.ledger import Submission
from service.jobs.reuse import equal_jobs
from service.jobs.schemas import JobRequest
from service.jobs.submission import again, new_job, project_of, start_of
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.limits.queries import check_priority, check_room, check_tags, highest_priority
from service.problems import Conflict
from service.projects.queries import open_project
from service.settings import Settings
from service.studies import queries as studies
from service.studies import steering
from service.studies.queries import best_of, trials
from service.studies.space import laid_over
from service.studies.submission import new_study
from service.studies.tables import Study
from service.suites.plan import Key, Plan, Run, spec_of
from service.suites.planned import costs
from service.suites.schemas import SuiteExtension, SuiteRequest
from service.suites.tables import Suite, SuiteRun
from service.suites.uploads import with_counts


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
    """Adds the runs of the plan that the suite does not have, or whose jobs were deleted; how many jobs are new.

    A row that is to be searched on a task first gets its study, and its runs when that has found the best settings.
    """
    plan = await with_counts(session, plan, suite.project)
    has = (await session.execute(select(SuiteRun).where(SuiteRun.suite == suite.id))).scalars().all()
    found = {study.id: study for study in await _studies(session, suite)}
    study_of = {(run.row, run.task): found[run.study] for run in has if run.study in found}
    kept = {
        Key(run.row, run.task, run.seed, run.draw)
        for run in has
        if run.job or run.refused or (run.study in found and found[run.study].searched_at is None)
    }
    due: list[Run] = []
    searching: list[Run] = []
    for run in plan.runs:
        if run.key in kept:
            continue
        study = study_of.get((run.row, run.task))
        if (run.row, run.task) not in plan.searches:
            due.append(run)
        elif study is not None and study.searched_at is not None and study.failed is None:
            due.append(await _as_found(session, run, study, plan.request, catalogue))
        else:
            searching.append(run)
    if not due and not searching:
        return 0
    check_priority(await check_room(session, settings, suite.project, 0), caller, plan.request.priority)
    for run in searching:
        if (run.row, run.task) not in study_of:
            search = plan.searches[run.row, run.task]
            study = new_study(search.request, search.spec, run.row, catalogue)
            study.project, study.owner, study.parent = suite.project, suite.owner, suite.id
            session.add(study)
            study_of[run.row, run.task] = study
    await session.flush()
    made = await _queue(session, suite, plan.request, due, caller, catalogue, settings)
    there = {Key(run.row, run.task, run.seed, run.draw) for run in has}
    if gone := [run.key for run in (*due, *searching) if run.key in there]:
        key = tuple_(SuiteRun.row, SuiteRun.task, SuiteRun.seed, SuiteRun.draw)
        await session.execute(delete(SuiteRun).where(SuiteRun.suite == suite.id, key.in_(gone)))
    cost = await costs(session, suite.project, plan, catalogue)
    rows: list[dict[str, Any]] = [
        {
            "suite": suite.id,
            **run.key._asdict(),
            "job": made[run.key].job if run.key in made else None,
            "study": study_of[run.row, run.task].id if (run.row, run.task) in study_of else None,
            "reused": run.key in made and not made[run.key].new,
            "refused": run.refused,
            "seconds": cost[run.row, run.task].seconds if run.key in made else None,
        }
        for run in (*due, *searching)
    ]
    await session.execute(insert(SuiteRun), rows)
    return sum(taken.new for taken in made.values())


class _Taken(NamedTuple):
    job: str
    new: bool


async def _queue(
    session: AsyncSession,
    suite: Suite,
    request: SuiteRequest,
    runs: Sequence[Run],
    caller: Caller,
    catalogue: Catalogue,
    settings: Settings,
) -> dict[Key, _Taken]:
    """Finds the job of each run that is not refused, and queues those that are not there yet."""
    specs = {run.key: run.spec for run in runs if run.spec is not None}

    def group(key: Key) -> tuple[str, str, int]:
        return key.row, key.task, key.draw

    found = await equal_jobs(session, suite.project, specs, group) if request.reuse else {}
    fresh = [run for run in runs if run.spec is not None and run.key not in found]
    limits = await check_room(session, settings, suite.project, len(fresh))
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
    await ledger.submit_all(session, [Submission(job) for job in jobs])
    taken = {key: _Taken(job.job, False) for key, job in found.items()}
    return taken | {run.key: _Taken(job.id, True) for run, job in zip(fresh, jobs, strict=True)}


async def run_found(
    session: AsyncSession,
    suite: Suite,
    study: Study,
    config: dict[str, Any],
    caller: Caller,
    catalogue: Catalogue,
    settings: Settings,
) -> None:
    """Queues the runs that waited for the study, with the settings that it found; those that have them stay."""
    request = request_of(suite)
    waiting = (
        await session.execute(
            select(SuiteRun.row, SuiteRun.task, SuiteRun.seed, SuiteRun.draw, Job.spec)
            .join(Job, Job.id == SuiteRun.job, isouter=True)
            .where(SuiteRun.suite == suite.id, SuiteRun.study == study.id)
            .order_by(SuiteRun.seed, SuiteRun.draw)
        )
    ).all()
    spec = _found_spec(study, config, request, catalogue)
    runs = [Run(row, task, seed, draw, spec_of(spec, seed, draw), None) for row, task, seed, draw, _ in waiting]
    due = [
        run
        for run, (*_, has) in zip(runs, waiting, strict=True)
        if not has or (run.spec and has != run.spec.json_dict())
    ]
    made = await _queue(session, suite, request, due, caller, catalogue, settings)
    seconds = cost_of(spec, study.task, await rates_of(session, suite.project), catalogue).seconds
    for key, taken in made.items():
        where = [SuiteRun.suite == suite.id, SuiteRun.row == key.row, SuiteRun.task == key.task]
        where += [SuiteRun.seed == key.seed, SuiteRun.draw == key.draw]
        values = {"job": taken.job, "reused": not taken.new, "seconds": seconds}
        await session.execute(update(SuiteRun).where(*where).values(**values))


async def _as_found(session: AsyncSession, run: Run, study: Study, request: SuiteRequest, catalogue: Catalogue) -> Run:
    best = best_of(await trials(session, study), studies.request_of(study).mode)
    if best is None or run.spec is None:
        return run
    spec = _found_spec(study, best.config, request, catalogue)
    return replace(run, spec=spec_of(spec, run.seed, run.draw))


def _found_spec(study: Study, config: dict[str, Any], request: SuiteRequest, catalogue: Catalogue) -> RunSpec:
    return validate(merged(laid_over(study.base, config), {"task": {"phase": request.phase}}), catalogue)


async def _studies(session: AsyncSession, suite: Suite) -> Sequence[Study]:
    return (await session.execute(select(Study).where(Study.parent == suite.id).order_by(Study.id))).scalars().all()


async def _starts(
    session: AsyncSession, request: SuiteRequest, runs: Iterable[Run], caller: Caller
) -> dict[str, str | None]:
    """Source of a start → its adapter's URL, of all runs that begin with an earlier job's adapter."""
    by_source = {run.spec.init_from: run.spec for run in runs if run.spec and run.spec.init_from}
    asked = JobRequest(overrides=request.overrides)
    return {source: await start_of(session, asked, spec, caller) for source, spec in by_source.items()}


async def retry(session: AsyncSession, suite: Suite, caller: Caller, catalogue: Catalogue, settings: Settings) -> int:
    """Queues a new job for each run whose job failed or was cancelled, and lets the searches go on that have ended
    without settings for their runs; how many jobs there are."""
    again_searched = 0
    without = select(SuiteRun.study).where(SuiteRun.suite == suite.id, SuiteRun.job.is_(None))
    broken = select(Study).where(Study.id.in_(without), or_(Study.failed.is_not(None), Study.cancelled_at.is_not(None)))
    for study in (await session.execute(broken.with_for_update())).scalars().all():
        again_searched += await steering.retry(session, study, caller, catalogue, settings)
        await steering.mark(session, study, cancelled_at=None, **steering.ANEW)
    ended = await session.execute(
        select(Job)
        .join(SuiteRun, SuiteRun.job == Job.id)
        .where(SuiteRun.suite == suite.id, Job.state.in_((State.FAILED, State.CANCELLED)))
        .order_by(Job.id)
    )
    old = ended.scalars().all()
    if not old:
        return again_searched
    await open_project(session, suite.project, "/project")
    limits = await check_room(session, settings, suite.project, len(old))
    jobs: list[Job] = []
    for job, id in zip(old, new_ids("job", len(old)), strict=True):
        new = again(job, catalogue, highest_priority(limits, caller))
        new.id, new.suite = id, suite.id
        new.lane = Needs.of_lane(new.lane)._replace(suite=suite.id if suite.max_parallel else "").lane
        jobs.append(new)
    await ledger.submit_all(session, [Submission(job) for job in jobs])
    for job in jobs:
        await session.execute(
            update(SuiteRun)
            .where(SuiteRun.suite == suite.id, SuiteRun.job == job.retry_of)
            .values(job=job.id, reused=False)
        )
    return len(jobs) + again_searched


async def cancel(session: AsyncSession, suite: Suite) -> None:
    """Ends what the suite has submitted: at once what waits, the rest after the step that runs."""
    live = select(Job.id).where(Job.suite == suite.id, Job.ended_at.is_(None)).order_by(Job.id).with_for_update()
    ids = (await session.execute(live)).scalars().all()
    await ledger.request_all(session, ids, cancel=True)
    await ledger.cancel_all_idle(session, ids, "The suite was cancelled.")
    for study in await _studies(session, suite):
        if study.searched_at is None and study.failed is None:
            await steering.cancel(session, study)
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
    fields = ("tasks", "rows", "backbones", "seeds", "draws")
    both = {name: [*getattr(asked, name), *getattr(more, name)] for name in fields}
    both |= {} if asked.draws else {"draws": []}  # it has all of them
    return asked.model_copy(update={name: _once(values) for name, values in both.items()})


def _once(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]


def kept_request(plan: Plan) -> dict[str, Any]:
    """Returns the request as it is kept: every task by name, so that a benchmark that grows later changes no suite, and
    the rows' labels."""
    said = plan.request.model_dump(mode="json", by_alias=True) | {"labels": plan.rows}
    return said | {"benchmark": plan.benchmark.name, "tasks": plan.tasks} if plan.known else said


def request_of(suite: Suite) -> SuiteRequest:
    """Returns the request that the suite keeps."""
    return SuiteRequest.model_validate({key: value for key, value in suite.request.items() if key != "labels"})
