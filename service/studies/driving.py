"""Requests of a study's driver: a study, its trials' rungs, and its end."""

from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, EventType, Fault, SpecError, State, validate
from service.events.queries import of_job
from service.jobs import ledger
from service.jobs.reuse import equal_jobs
from service.jobs.schemas import JobRequest
from service.jobs.submission import new_job, start_of
from service.jobs.tables import Attempt, Job
from service.keys.auth import Caller
from service.keys.roles import Role
from service.keys.secrets import hashed
from service.limits.queries import check_room
from service.problems import Invalid, LeaseFenced, NotFound
from service.settings import Settings
from service.studies.driver_schemas import RungAnswer
from service.studies.queries import best_of, epochs_of, metric_of, request_of, trials
from service.studies.schemas import StudyRequest
from service.studies.space import key_of, laid_over, reduced, rungs_of, spec_of, trials_of
from service.studies.tables import Rung, Study, Trial
from service.suites import submission as suites
from service.suites.plan import plan
from service.suites.schemas import SuiteRequest, SuiteRow
from service.suites.tables import Suite

_DRIVERS = 20
"""So many drivers may be lost or fail before a study is given up; a resume begins anew."""


_OF_THE_TASK = ("name", "source", "phase", "num_classes")


async def take(session: AsyncSession, cluster: str, holding: list[str], token: str, lease_s: float) -> Study | None:
    """Gives the cluster the oldest study that waits for a driver, or whose driver is lost; None where there is none."""
    lost = or_(
        Study.lease_expires_at.is_(None),
        Study.lease_expires_at < func.now(),
        (Study.cluster == cluster) & Study.id.notin_(holding),
    )
    waiting = (
        select(Study)
        .where(
            Study.searched_at.is_(None),
            Study.failed.is_(None),
            Study.paused_at.is_(None),
            Study.cancelled_at.is_(None),
            lost,
        )
        .order_by(Study.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    study = (await session.execute(waiting)).scalar_one_or_none()
    if study is None:
        return None
    values: dict[str, Any] = {"drivers": Study.drivers + 1}
    if study.drivers >= _DRIVERS:
        values["failed"] = f"{_DRIVERS} drivers of the search were lost; see the worker's log, and resume the study"
    else:
        values |= {"cluster": cluster, "token_hash": hashed(token), "lease_expires_at": _in(lease_s)}
    await session.execute(update(Study).where(Study.id == study.id).values(**values))
    await session.refresh(study)
    return study if study.failed is None else None


async def held(session: AsyncSession, study_id: str, token: str, lease_s: float) -> Study:
    """Renews the lease of the driver that shows the token, and returns the study, locked.

    Raises LeaseFenced for a driver that has it no more.
    """
    study = await session.get(Study, study_id, with_for_update=True, populate_existing=True)
    if study is None:
        raise NotFound(f"there is no study {study_id!r}")
    if study.token_hash != hashed(token):
        raise LeaseFenced(f"another driver has {study_id} now, or none")
    await session.execute(update(Study).where(Study.id == study.id).values(lease_expires_at=_in(lease_s)))
    return study


def to_stop(study: Study) -> bool:
    """Returns whether its driver is to end."""
    return any(at is not None for at in (study.paused_at, study.cancelled_at, study.searched_at, study.failed))


async def rung_of(
    session: AsyncSession, study: Study, config: dict[str, Any], rung: int, catalogue: Catalogue, settings: Settings
) -> tuple[RungAnswer, str | None]:
    """Returns how a trial's rung stands, and the job to wait for, which is made where there is none yet.

    The trial is found by its config, so whoever asks again, for whatever reason, repeats nothing.
    """
    request = request_of(study)
    rungs = rungs_of(request, study.epochs)
    if rung >= len(rungs):
        fault = Fault(pointer="/rung", code="out_of_range", message=f"the last of this study is {len(rungs) - 1}")
        raise Invalid("the request has faults", [fault])
    epochs = rungs[rung]
    point = reduced(config, request.space)
    trial = await _known(session, study, point)
    found = await _rung(session, study, trial, rung) if trial else None
    if found is None or (found.job is None and found.value is None):
        if to_stop(study):
            raise LeaseFenced(f"{study.id} is not to begin anything new")
        if not await _within_budget(session, study, request):
            running = select(Job.id).where(Job.study == study.id, Job.ended_at.is_(None)).limit(1)
            waits_for = (await session.execute(running)).scalar_one_or_none()
            number = trial.number if trial else 0
            return _answer(number, ended=waits_for is None, over=waits_for is None), waits_for
        if trial is None and (why := await _unasked(session, study, point, request)):
            return _answer(0, ended=True, failed=why), None
        trial = trial or await _add(session, study, point)
        if not trial.refused:
            found = await _begin(session, study, trial, rung, catalogue, settings)
    assert trial is not None
    if trial.refused or found is None:
        return _answer(trial.number, ended=True, failed=trial.refused or "no job could be made"), None
    job = await session.get(Job, found.job, populate_existing=True) if found.job else None
    if found.value is None and job is not None:
        await note(session, found, job, request)
        if found.value is None and job.state == State.SUCCEEDED:
            metric = request.metric or f"val/{metric_of(job.benchmark, job.task)}"
            trial.refused = f"{job.id} has measured no {metric}; name one that it has as the study's `metric`"
            return _answer(trial.number, ended=True, failed=trial.refused), None
    stopped = trial.stopped_at is not None and trial.stopped_at <= rung
    failed = _why(job) if job and found.value is None and job.state in (State.FAILED, State.CANCELLED) else None
    ended = found.value is not None or failed is not None
    return _answer(trial.number, ended, value=found.value, epochs=epochs, stopped=stopped, failed=failed), found.job


def _answer(
    trial: int,
    ended: bool,
    *,
    value: float | None = None,
    epochs: int = 0,
    stopped: bool = False,
    failed: str | None = None,
    over: bool = False,
) -> RungAnswer:
    return RungAnswer(trial=trial, ended=ended, value=value, epochs=epochs, stopped=stopped, failed=failed, over=over)


def _why(job: Job) -> str:
    return f"{job.reason}: {job.message}"


async def _unasked(session: AsyncSession, study: Study, point: dict[str, Any], request: StudyRequest) -> str | None:
    """Why the study was not submitted to have such a trial; None where it was. What drivers make up runs nowhere."""
    outside = sorted(path for path in point if path not in request.space)
    outside += sorted(path for path in point.keys() - set(outside) if not request.space[path].holds(point[path]))
    if outside:
        return f"{', '.join(outside)}: not in the study's space, or has another value than that"
    count = await session.execute(select(func.count()).where(Trial.study == study.id))
    if count.scalar_one() >= trials_of(request):
        return f"the study has all of its {trials_of(request):,} trials; `pace study extend` gives it more"
    return None


async def _within_budget(session: AsyncSession, study: Study, request: StudyRequest) -> bool:
    """Whether what has begun leaves anything of the budget."""
    if request.budget.epochs is not None:
        begun = await session.execute(select(Rung).where(Rung.study == study.id))
        if epochs_of(request, [(rung.trial, rung.epochs) for rung in begun.scalars()]) >= request.budget.epochs:
            return False
    if request.budget.hours is not None:
        running = func.extract("epoch", func.now() - Attempt.started_at)
        now = func.coalesce(func.sum(running).filter(Job.ended_at.is_(None), Attempt.ended_at.is_(None)), 0.0)
        seconds = (
            select(func.coalesce(func.sum(Job.runtime_s), 0.0) + now)
            .join(Attempt, (Attempt.job == Job.id) & (Attempt.number == Job.attempt), isouter=True)
            .where(Job.study == study.id)
        )
        if float((await session.execute(seconds)).scalar_one()) >= 3600 * request.budget.hours:
            return False
    return True


async def _rung(session: AsyncSession, study: Study, trial: Trial, rung: int) -> Rung | None:
    return await session.get(Rung, (study.id, trial.number, rung), populate_existing=True)


async def note(session: AsyncSession, rung: Rung, job: Job, request: StudyRequest) -> None:
    """Notes the rung's value where its job has got so far."""
    if request.rungs == "schedules" and job.state != State.SUCCEEDED:
        return
    key = request.metric or f"val/{metric_of(job.benchmark, job.task)}"
    by_epoch: dict[int, float] = {}
    for event in await of_job(session, job.id, types=[EventType.METRICS]):
        value, epoch = event.data.get("values", {}).get(key), event.data.get("epoch") or 0
        if isinstance(value, int | float) and (request.rungs == "schedules" or epoch <= rung.epochs):
            by_epoch[epoch] = value
    if request.rungs == "one_run" and rung.epochs not in by_epoch:
        return
    last = [by_epoch[epoch] for epoch in sorted(by_epoch)[-request.average_over :]]
    if last:
        rung.value = sum(last) / len(last)
    elif request.metric is None:
        rung.value = job.value


async def note_all(session: AsyncSession, study: Study) -> None:
    """Notes the values of all rungs that nobody has asked for since."""
    waiting = select(Rung, Job).join(Job, Job.id == Rung.job).where(Rung.study == study.id, Rung.value.is_(None))
    for rung, job in (await session.execute(waiting)).all():
        await note(session, rung, job, request_of(study))
    await session.flush()


async def _known(session: AsyncSession, study: Study, config: dict[str, Any]) -> Trial | None:
    query = select(Trial).where(Trial.study == study.id, Trial.key == key_of(config))
    return (await session.execute(query)).scalar_one_or_none()


async def _add(session: AsyncSession, study: Study, config: dict[str, Any]) -> Trial:
    count = await session.execute(select(func.count()).where(Trial.study == study.id))
    trial = Trial(study=study.id, number=count.scalar_one(), key=key_of(config), config=config)
    session.add(trial)  # the study's row is locked: nobody else adds one meanwhile
    await session.flush()
    return trial


async def _begin(
    session: AsyncSession, study: Study, trial: Trial, rung: int, catalogue: Catalogue, settings: Settings
) -> Rung | None:
    """The rung with its job: an equal one that is done, that of the rung before where all are one run, or a new one."""
    request = request_of(study)
    before = await _rung(session, study, trial, rung - 1) if rung and request.rungs == "one_run" else None
    if before is not None and before.job is not None:
        return await _kept(session, study, trial, rung, before.job)
    try:
        raw = spec_of(study.base, trial.config, request, study.epochs, rung, request.seed)
        spec = validate(raw, catalogue)
    except SpecError as error:
        trial.refused = "; ".join(str(fault) for fault in error.faults)
        return None
    if request.reuse:
        equal = (await equal_jobs(session, study.project, {"": spec})).get("")
        if equal is not None and equal.done:
            return await _kept(session, study, trial, rung, equal.job)
    limits = await check_room(session, settings, study.project)
    limited = await session.get(Suite, study.parent) if study.parent else None
    job = new_job(spec, catalogue, limited.id if limited and limited.max_parallel else "")
    said = ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in trial.config.items())
    job.project, job.owner, job.row = study.project, study.owner, f"{study.row}: {said}"[:200]
    epochs = rungs_of(request, study.epochs)[rung] if request.rungs == "schedules" else study.epochs
    job.name, job.tags = f"trial {trial.number}, {epochs} epochs", dict(request.tags)
    job.priority, job.max_attempts = request.priority, 3
    job.max_runtime_s = limits.default_max_runtime_s
    job.study, job.suite = study.id, study.parent
    job.init_uri = await start_of(session, JobRequest(spec={}), spec, on_behalf(study))
    await ledger.submit(session, job)
    return await _kept(session, study, trial, rung, job.id)


async def _kept(session: AsyncSession, study: Study, trial: Trial, rung: int, job: str) -> Rung:
    epochs = rungs_of(request_of(study), study.epochs)[rung]
    values = {"study": study.id, "trial": trial.number, "rung": rung, "epochs": epochs, "job": job}
    made = insert(Rung).values(**values)
    await session.execute(made.on_conflict_do_update(index_elements=["study", "trial", "rung"], set_={"job": job}))
    return await session.get_one(Rung, (study.id, trial.number, rung), populate_existing=True)


def on_behalf(study: Study) -> Caller:
    """Returns the study's owner as a caller: whoever submitted it was allowed to."""
    return Caller(key_id="", role=Role.ADMIN, owner=study.owner, project=study.project)


async def stop(session: AsyncSession, study: Study, trial: int, rung: int) -> None:
    """Notes that the scheduler stopped a trial after that rung; a run that goes on to later ones is cancelled."""
    later = select(Rung.rung).where(Rung.study == study.id, Rung.trial == trial, Rung.rung > rung).exists()
    where = (Trial.study == study.id, Trial.number == trial, Trial.stopped_at.is_(None), ~later)
    stopped = await session.execute(update(Trial).where(*where).values(stopped_at=rung).returning(Trial.number))
    if stopped.first() is None or request_of(study).rungs == "schedules":
        return
    own = select(Rung.job).where(Rung.study == study.id, Rung.trial == trial)
    live = select(Job.id).where(Job.id.in_(own), Job.study == study.id, Job.ended_at.is_(None)).with_for_update()
    jobs = (await session.execute(live)).scalars().all()
    await ledger.request_all(session, jobs, cancel=True)
    await ledger.cancel_all_idle(session, jobs, "The scheduler stopped the trial.")


async def finish(
    session: AsyncSession, study: Study, importance: dict[str, float], catalogue: Catalogue, settings: Settings
) -> None:
    """Ends the search: its best is trained on all but the test images, and tested once a seed."""
    request = request_of(study)
    await note_all(session, study)
    best = best_of(await trials(session, study), request.mode)
    values: dict[str, Any] = {"searched_at": func.now(), "token_hash": None, "lease_expires_at": None}
    values |= {"importance": importance, "tracked": False}
    if best is None:
        values["failed"] = "not one trial has a result; see `trials` for why"
    elif study.parent:
        suite = await session.get_one(Suite, study.parent, with_for_update=True, populate_existing=True)
        await suites.run_found(session, suite, study, best.config, on_behalf(study), catalogue, settings)
    elif request.seeds:
        values["suite"] = await _test(session, study, best.config, catalogue, settings)
    await session.execute(update(Study).where(Study.id == study.id).values(**values))


async def _test(
    session: AsyncSession, study: Study, config: dict[str, Any], catalogue: Catalogue, settings: Settings
) -> str:
    """A suite of the final runs."""
    request = request_of(study)
    spec = validate(laid_over(study.base, config), catalogue).json_dict()
    task = spec.pop("task")
    said = {key: spec[key] for key in spec if key not in ("seed", "resources")}
    known = study.benchmark is not None
    asked = SuiteRequest(
        name=f"{study.name or study.id}: the best"[:200],
        tasks=[task["name"]] if known else [task],
        rows=[SuiteRow(label=study.row, spec=said)],
        seeds=request.seeds,
        overrides={"task": {key: value for key, value in task.items() if key not in _OF_THE_TASK}} if known else {},
        priority=request.priority,
        tags=request.tags,
    )
    return (await suites.submit(session, plan(asked, catalogue), on_behalf(study), catalogue, settings)).id


def _in(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
