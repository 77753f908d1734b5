"""Submission of a StudyRequest as a study that waits for a driver."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, Fault, RunSpec, SpecError, merged, spec_of_recipe, validate
from pace_core.spec.data_report import DataReport
from service.clusters.fit import seen_slots
from service.clusters.needs import Needs
from service.ids import new_id
from service.jobs.cost import cost_of, rates_of
from service.jobs.schemas import JobRequest
from service.jobs.submission import new_job, project_of, resolve, start_of
from service.jobs.uploads import counted, images_in, named_by, reports
from service.keys.auth import Caller
from service.limits.queries import check_priority, check_tags, of_project
from service.problems import Invalid
from service.settings import Settings
from service.studies.schemas import MOST_TRIALS, StudyExtension, StudyPlan, StudyRequest
from service.studies.space import PAPERS_GRID, expected_epochs, grid, rungs_of, spec_of, trials_of
from service.studies.tables import Study


def resolved(asked: StudyRequest, catalogue: Catalogue) -> tuple[StudyRequest, RunSpec, str]:
    """Returns the request with its space filled in, the spec that it varies, and the row's label.

    Raises Invalid with all faults of the request, and where the first point of the space does not make a valid spec.
    """
    given = JobRequest(spec=asked.spec, recipe=asked.recipe, overrides=asked.overrides, row=asked.row)
    spec, row = resolve(given, catalogue)
    space = asked.space
    if not space:
        if spec.regularizer.name != "pace":
            raise _invalid("/space", "missing", "name the fields to search, such as optimizer.lr, with their values")
        space = PAPERS_GRID
    first = asked.min_epochs or rungs_of(asked, spec.training.epochs)[0]  # kept, whatever a later version would choose
    request = asked.model_copy(update={"space": space, "min_epochs": first})
    faults: list[Fault] = []
    if request.search == "grid" and request.trials is not None:
        message = "a grid runs whole; search random or tpe for so many of its points"
        faults.append(Fault(pointer="/trials", code="conflict", message=message))
    for path, dimension in space.items():
        if request.search == "grid" and dimension.choice is None:
            message = "a grid is made of choices; search random or tpe for a range"
            faults.append(Fault(pointer=f"/space/{path}", code="conflict", message=message))
        if path in ("task.phase", "task.name", "task.source", "training.epochs"):
            message = "is set by the study itself"
            faults.append(Fault(pointer=f"/space/{path}", code="conflict", message=message))
        faults += [
            Fault(pointer=f"/space/{path}/when/{other}", code="unknown_name", message="is not a field of the space")
            for other in dimension.when
            if other not in space
        ]
    if request.scheduler != "none" and request.min_epochs is not None and request.min_epochs > spec.training.epochs:
        message = f"the whole schedule has {spec.training.epochs} epochs; a first rung is shorter"
        faults.append(Fault(pointer="/min_epochs", code="out_of_range", message=message))
    if request.scheduler == "none" and request.rungs == "one_run":
        message = "without a scheduler there are no rungs; set scheduler to asha, hyperband or median"
        faults.append(Fault(pointer="/rungs", code="conflict", message=message))
    if faults:
        raise Invalid("the request has faults", faults)
    if trials_of(request) > MOST_TRIALS:
        raise _invalid("/trials", "out_of_range", f"a study has at most {MOST_TRIALS:,} trials; give fewer choices")
    _check_first(request, spec, catalogue)
    return request, spec, row


def extended(asked: StudyRequest, more: StudyExtension, tried: Sequence[Mapping[str, Any]]) -> StudyRequest:
    """Returns the request with more trials, or a wider space. Raises Invalid where a point tried lies outside it."""
    faults: list[Fault] = []
    for path, dimension in more.space.items():
        if path not in asked.space:
            message = "is not a field of the study's space; submit a study of its own"
            faults.append(Fault(pointer=f"/space/{path}", code="unknown_name", message=message))
        elif missing := [point[path] for point in tried if path in point and not dimension.holds(point[path])]:
            message = f"must hold {missing[0]!r}, which was tried"
            faults.append(Fault(pointer=f"/space/{path}", code="conflict", message=message))
    if faults:
        raise Invalid("the request has faults", faults)
    trials = more.trials if asked.search == "grid" else trials_of(asked) + (more.trials or 0)
    budget = more.budget or asked.budget
    return asked.model_copy(update={"space": asked.space | more.space, "trials": trials, "budget": budget})


def base_of(request: StudyRequest) -> dict[str, Any]:
    """Returns the spec as it was asked for, without defaults, so that a trial's own fields decide what follows."""
    if request.recipe:
        return spec_of_recipe(request.recipe.name, request.recipe.row, request.recipe.task, request.overrides)
    return merged(request.spec or {}, request.overrides)


def with_images(request: StudyRequest, spec: RunSpec, report: DataReport | None) -> StudyRequest:
    """Returns the request with the images that the check of its uploaded data set counted, for every run of it."""
    if report is None or spec.resources.images is not None:
        return request
    images = {"resources": {"images": images_in(spec, report)}}
    return request.model_copy(update={"overrides": merged(request.overrides, images)})


async def _counted(
    session: AsyncSession, request: StudyRequest, spec: RunSpec, project: str
) -> tuple[StudyRequest, RunSpec]:
    """Raises Invalid where the spec names an uploaded data set that the project cannot use."""
    name = named_by(spec)
    if name is None:
        return request, spec
    report = (await reports(session, project, {name: "/overrides/task" if request.recipe else "/spec/task/dataset"}))[
        name
    ]
    return with_images(request, spec, report), counted(spec, report)


async def planned(
    session: AsyncSession, asked: StudyRequest, caller: Caller, catalogue: Catalogue, settings: Settings
) -> StudyPlan:
    """Returns what the study would run, and stores nothing."""
    request, spec, row = resolved(asked, catalogue)
    project = (await project_of(session, request.project, caller)).name
    request, spec = await _counted(session, request, spec, project)
    probe = new_job(spec, catalogue)
    cost = cost_of(spec, probe.task, await rates_of(session, project), catalogue)
    whole = spec.training.epochs
    rungs = rungs_of(request, whole)
    epochs = expected_epochs(request, rungs)
    seconds = None if cost.seconds is None else cost.seconds * (epochs / max(whole, 1) + len(request.seeds))
    slots = await seen_slots(session, settings.worker_seen_s)
    needs = Needs.of_lane(probe.lane)
    count = slots.fitting(needs)
    at_once = min(count, request.concurrency or count)
    return StudyPlan(
        task=probe.task,
        row=row,
        trials=trials_of(request),
        rungs=rungs,
        epochs=epochs,
        final=len(request.seeds),
        slot_minutes=None if seconds is None else seconds / 60,
        measured=cost.measured,
        slots=count,
        minutes=None if seconds is None or not at_once else seconds / 60 / at_once,
        waiting_for=slots.lacking(needs),
    )


async def submit(
    session: AsyncSession, asked: StudyRequest, caller: Caller, catalogue: Catalogue, settings: Settings
) -> Study:
    """Stores the study, for a driver to find."""
    request, spec, row = resolved(asked, catalogue)
    check_tags(settings, len(request.tags))
    project = (await project_of(session, request.project, caller)).name
    check_priority(await of_project(session, settings, project), caller, request.priority)
    request, spec = await _counted(session, request, spec, project)
    start = JobRequest(spec=asked.spec, recipe=asked.recipe, overrides=asked.overrides)
    await start_of(session, start, spec, caller)  # raises where there is none
    study = new_study(request, spec, row, catalogue)
    study.project, study.owner = project, caller.owner
    session.add(study)
    await session.flush()
    return study


def new_study(request: StudyRequest, spec: RunSpec, row: str, catalogue: Catalogue) -> Study:
    """Makes a study of a resolved request, which waits for a driver; its project and owner are still to be set."""
    probe = new_job(spec, catalogue)
    return Study(
        id=new_id("study"),
        name=request.name,
        benchmark=probe.benchmark,
        task=probe.task,
        row=row,
        request=request.model_dump(mode="json", by_alias=True),
        base=base_of(request),
        trials=trials_of(request),
        epochs=spec.training.epochs,
        drivers=0,
    )


def _check_first(request: StudyRequest, spec: RunSpec, catalogue: Catalogue) -> None:
    point = next(grid(request.space)) if request.search == "grid" else _corner(request)
    whole = spec.training.epochs
    try:
        validate(spec_of(base_of(request), point, request, whole, 0, request.seed), catalogue)
    except SpecError as error:
        faults = [f.model_copy(update={"pointer": f"/space{f.pointer}"}) for f in error.faults]
        raise Invalid("the first point of the space does not make a valid spec", faults) from None


def _corner(request: StudyRequest) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for path, dimension in request.space.items():
        bounds = dimension.uniform or dimension.loguniform or dimension.integer
        point[path] = bounds[0] if bounds else (dimension.choice or [None])[0]
    return point


def _invalid(pointer: str, code: str, message: str) -> Invalid:
    return Invalid("the request has faults", [Fault(pointer=pointer, code=code, message=message)])
