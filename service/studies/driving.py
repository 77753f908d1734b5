"""What a study's driver asks for: a study, its trials' rungs, and its end."""

from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, EventType, SpecError, State, load_benchmarks, validate
from service.events.queries import of_job
from service.jobs import ledger
from service.jobs.submission import new_job
from service.jobs.tables import Job
from service.keys.auth import Caller
from service.keys.roles import Role
from service.keys.secrets import hashed
from service.limits.queries import check_room
from service.problems import LeaseFenced, NotFound
from service.settings import Settings
from service.studies.queries import best_of, request_of, trials
from service.studies.schemas import RungAnswer
from service.studies.space import key_of, reduced, rungs_of, spec_of
from service.studies.tables import Rung, Study, Trial
from service.suites import submission as suites
from service.suites.plan import plan
from service.suites.schemas import SuiteRequest, SuiteRow

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
    """Returns how a trial's rung stands and its job, which is made where there is none yet.

    The trial is found by its config, so whoever asks again, for whatever reason, repeats nothing.
    """
    request = request_of(study)
    epochs = rungs_of(request, study.epochs)[rung]
    trial = await _trial(session, study, reduced(config, request.space))
    if trial.refused:
        return RungAnswer(
            trial=trial.number, ended=True, value=None, epochs=0, stopped=False, failed=trial.refused
        ), None
    found = await session.get(Rung, (study.id, trial.number, rung), populate_existing=True)
    if found is None or (found.job is None and found.value is None):
        if to_stop(study):
            raise LeaseFenced(f"{study.id} is not to begin anything new")
        found = await _begin(session, study, trial, rung, epochs, catalogue, settings)
        if found is None:
            failed = trial.refused or "no job could be made"
            return RungAnswer(trial=trial.number, ended=True, value=None, epochs=0, stopped=False, failed=failed), None
    job = await session.get(Job, found.job, populate_existing=True) if found.job else None
    if found.value is None and job is not None and job.state == State.SUCCEEDED:
        found.value = await _value(session, job, request.average_over)
    failed = f"{job.reason}: {job.message}" if job and job.state in (State.FAILED, State.CANCELLED) else None
    answer = RungAnswer(
        trial=trial.number,
        ended=found.value is not None or failed is not None,
        value=found.value,
        epochs=epochs,
        stopped=trial.stopped_at is not None and trial.stopped_at <= rung,
        failed=failed,
    )
    return answer, found.job


async def _trial(session: AsyncSession, study: Study, config: dict[str, Any]) -> Trial:
    key = key_of(config)
    query = select(Trial).where(Trial.study == study.id, Trial.key == key)
    found = (await session.execute(query)).scalar_one_or_none()
    if found is not None:
        return found
    count = await session.execute(select(func.count()).where(Trial.study == study.id))
    trial = Trial(study=study.id, number=count.scalar_one(), key=key, config=config)
    session.add(trial)  # the study's row is locked: nobody else adds one meanwhile
    await session.flush()
    return trial


async def _begin(
    session: AsyncSession, study: Study, trial: Trial, rung: int, epochs: int, catalogue: Catalogue, settings: Settings
) -> Rung | None:
    request = request_of(study)
    try:
        spec = validate(spec_of(study.base, trial.config, epochs, study.epochs, request.seed), catalogue)
    except SpecError as error:
        trial.refused = "; ".join(str(fault) for fault in error.faults)
        return None
    limits = await check_room(session, settings, study.project)
    job = new_job(spec, catalogue)
    said = ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in trial.config.items())
    job.project, job.owner, job.row, job.tags = (
        study.project,
        study.owner,
        f"{study.row}: {said}"[:200],
        dict(request.tags),
    )
    job.name, job.priority, job.max_attempts = f"trial {trial.number}, {epochs} epochs", request.priority, 3
    job.max_runtime_s = limits.default_max_runtime_s
    job.study = study.id
    await ledger.submit(session, job)
    values = {"study": study.id, "trial": trial.number, "rung": rung, "epochs": epochs, "job": job.id}
    made = insert(Rung).values(**values)
    await session.execute(made.on_conflict_do_update(index_elements=["study", "trial", "rung"], set_={"job": job.id}))
    return await session.get_one(Rung, (study.id, trial.number, rung), populate_existing=True)


async def _value(session: AsyncSession, job: Job, average_over: int) -> float | None:
    """The mean over the last evaluations on validation images."""
    benchmark = load_benchmarks().get(job.benchmark or "")
    key = f"val/{benchmark.metric if benchmark else 'accuracy'}"
    by_epoch: dict[int, float] = {}
    for event in await of_job(session, job.id, types=[EventType.METRICS]):
        value = event.data.get("values", {}).get(key)
        if value is not None:
            by_epoch[event.data.get("epoch") or 0] = value
    last = [by_epoch[epoch] for epoch in sorted(by_epoch)[-average_over:]]
    return sum(last) / len(last) if last else job.value


async def finish(session: AsyncSession, study: Study, catalogue: Catalogue, settings: Settings) -> None:
    """Ends the search: its best is trained on all but the test images, and tested once a seed."""
    request = request_of(study)
    best = best_of(await trials(session, study), request.mode)
    values: dict[str, Any] = {"searched_at": func.now(), "token_hash": None, "lease_expires_at": None}
    if best is None:
        values["failed"] = "not one trial has a result; see `trials` for why"
    elif request.seeds:
        raw = spec_of(study.base, best.config, study.epochs, study.epochs, request.seed)
        spec = validate(raw, catalogue).json_dict()
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
        owner = Caller(key_id="", role=Role.ADMIN, owner=study.owner, project=study.project)
        suite = await suites.submit(session, plan(asked, catalogue), owner, catalogue, settings)
        values["suite"] = suite.id
    await session.execute(update(Study).where(Study.id == study.id).values(**values))


def _in(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
