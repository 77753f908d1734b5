"""Submission of a JobRequest as a queued job."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import (
    Catalogue,
    Fault,
    RunSpec,
    SpecError,
    State,
    estimate,
    find_task,
    load_recipes,
    merged,
    spec_of_recipe,
    validate_often,
)
from service.clusters.needs import LONGEST_LANE, Needs
from service.db import Database
from service.ids import new_id
from service.jobs.schemas import JobRequest
from service.jobs.tables import Job
from service.jobs.uploads import counted, named_by, reports
from service.keys.auth import Caller
from service.keys.roles import Role
from service.limits.queries import check_priority, check_tags, limits_of
from service.problems import Invalid
from service.projects.queries import open_project, recent_open_project
from service.projects.tables import Project
from service.settings import Settings


def resolve(request: JobRequest, catalogue: Catalogue) -> tuple[RunSpec, str]:
    """Returns the resolved spec and its row label. Raises Invalid with all faults, pointing into the request's body."""
    if (request.spec is None) == (request.recipe is None):
        fault = Fault(pointer="/spec", code="conflict", message="give either a spec or a recipe")
        raise Invalid("the request has faults", [fault])
    try:
        if request.recipe:
            chosen = request.recipe
            raw = spec_of_recipe(chosen.name, chosen.row, chosen.task, request.overrides)
        else:
            raw = merged(request.spec or {}, request.overrides)
        if request.seed is not None:
            raw["seed"] = request.seed
        spec = validate_often(raw, catalogue)
    except SpecError as error:
        raise _refused(request, error) from None
    return spec, request.row or _row(request, spec)


def asked_job(request: JobRequest, spec: RunSpec, catalogue: Catalogue) -> Job:
    """Makes the job of the request's spec, as `new_job`. Raises Invalid, pointing into the request's body."""
    try:
        return new_job(spec, catalogue)
    except SpecError as error:
        raise _refused(request, error) from None


def _refused(request: JobRequest, error: SpecError) -> Invalid:
    where = "/overrides" if request.recipe else "/spec"
    return Invalid("the spec has faults", [_placed(fault, where, request) for fault in error.faults])


def _placed(fault: Fault, where: str, request: JobRequest) -> Fault:
    if fault.pointer.startswith("/recipe"):
        return fault
    section, *rest = fault.pointer.strip("/").split("/")
    given: Any = request.overrides.get(section)
    overridden = isinstance(given, dict) and (not rest or rest[0] in given)
    return fault.model_copy(update={"pointer": ("/overrides" if overridden else where) + fault.pointer})


def _row(request: JobRequest, spec: RunSpec) -> str:
    if request.recipe:
        found = load_recipes()[request.recipe.name].row(request.recipe.row)
        return found.label if found else request.recipe.row
    name = spec.regularizer.name
    return spec.method.name if name == "none" else f"{spec.method.name} + {name}"


async def checked(
    database: Database, request: JobRequest, caller: Caller, catalogue: Catalogue, settings: Settings
) -> tuple[Job, Project]:
    """Returns the job that is asked for, and its project, whose room is not looked at. Raises Invalid."""
    check_tags(settings, len(request.tags))
    spec, row = resolve(request, catalogue)
    job = asked_job(request, spec, catalogue)
    project = await recent_open_project(database, _project_name(request.project, caller), "/project")
    if named_by(spec) is not None:
        async with database.lone() as session:
            job = asked_job(request, await with_counts(session, request, spec, project.name), catalogue)
    if spec.init_from is not None:
        async with database.lone() as session:
            job.init_uri = await start_of(session, request, spec, caller)
    job.project = project.name
    job.owner, job.name, job.row, job.tags = caller.owner, request.name, row, dict(request.tags)
    limits = limits_of(project, settings)
    check_priority(limits, caller, request.priority)
    job.priority, job.max_attempts = request.priority, request.max_attempts
    job.max_runtime_s = request.max_runtime_s or limits.default_max_runtime_s
    job.state, job.created_at = State.QUEUED, datetime.now(UTC)  # what the database says then stands in the answer
    return job, project


async def start_of(session: AsyncSession, request: JobRequest, spec: RunSpec, caller: Caller) -> str | None:
    """Returns the fsspec URL of the adapter that the run starts from; None where that is the pretrained network.

    Raises Invalid where `init_from` is anything else than a job that the caller sees and that has left an adapter.
    """
    if spec.init_from is None:
        return None
    source = await session.get(Job, spec.init_from) if spec.init_from.startswith("job_") else None
    saved: dict[str, Any] = ((source.result or {}).get("adapter") or {}) if source else {}
    if source is None or not caller.sees(source.project):
        message = (
            f"must be the id of a job whose adapter to start from, such as job_01…, not {spec.init_from[:100]!r}; "
            "paths are for `pace train`, addresses are not fetched"
        )
    elif not saved:
        message = f"{source.id} is {source.state} and has left no adapter to start from; name a job that succeeded"
    else:
        return str(saved["uri"])
    fault = Fault(pointer="/init_from", code="unknown_name", message=message)
    where = "/overrides" if request.recipe or "init_from" in request.overrides else "/spec"
    raise Invalid("the spec has faults", [_placed(fault, where, request)])


async def with_counts(session: AsyncSession, request: JobRequest, spec: RunSpec, project: str) -> RunSpec:
    """Returns the spec with the number of images of the uploaded data set that it names, as far as its check has ended.

    Raises Invalid where the project has no usable data set of that name.
    """
    name = named_by(spec)
    if name is None:
        return spec
    fault = Fault(pointer="/task/dataset", code="unknown_name", message="")
    pointer = _placed(fault, "/overrides" if request.recipe else "/spec", request).pointer
    return counted(spec, (await reports(session, project, {name: pointer}))[name])


def new_job(spec: RunSpec, catalogue: Catalogue, limited: str = "") -> Job:
    """Makes a job of that spec, with what follows from the spec filled in.

    `limited`: the suite of which only so many jobs may run at a time, if it is of one. Raises SpecError where what the
    spec asks of a slot is too long to be queued by.
    """
    facts = _facts_often(spec, catalogue, limited)
    columns = {**facts, "spec": {**facts["spec"], "seed": spec.seed}}
    return Job(id=new_id("job"), attempt=0, failures=0, runtime_s=0.0, seed=spec.seed, **columns)


_MANY = 2_000
_known: dict[tuple[str, int, *tuple[int, ...]], tuple[list[object], dict[str, Any]]] = {}
"""Facts of specs seen lately, by the identities of what they follow from, which an entry keeps alive."""


def _facts_often(spec: RunSpec, catalogue: Catalogue, limited: str) -> dict[str, Any]:
    """Does `_facts`, once for specs that differ in their seeds alone: `validate_often` gives them parts in common."""
    parts = [part for name, part in spec if name != "seed"]
    key = limited, id(catalogue), *map(id, parts)
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MANY:
            _known.clear()
        found = _known[key] = [catalogue, *parts], _facts(spec, catalogue, limited)
    return found[1]


def _facts(spec: RunSpec, catalogue: Catalogue, limited: str) -> dict[str, Any]:
    """Returns columns of a job that follow from its spec, whatever the seed."""
    found = find_task(spec.task.name)
    needs = Needs.of(spec, estimate(spec, catalogue).memory_bytes, limited)
    if (length := len(needs.lane.encode())) > LONGEST_LANE:
        pointer = "/task/path" if len(needs.data.encode()) > LONGEST_LANE / 2 else "/resources/requires"
        message = f"the path of the data and the labels that a slot must have take {length:,} bytes, which is too much "
        message += f"for the queue: at most {LONGEST_LANE:,} together; link the data to a shorter path, or ask for less"
        raise SpecError([Fault(pointer=pointer, code="out_of_range", message=message)])
    return {
        "spec": spec.json_dict(),
        "benchmark": found[0].name if found else None,
        "task": found[1].name if found else spec.task.name,
        "phase": spec.task.phase,
        "device": needs.device,
        "memory_bytes": needs.memory_bytes or None,
        "lane": needs.lane,
    }


def again(old: Job, catalogue: Catalogue, most: int) -> Job:
    """Makes a job that runs an ended one anew and names it, of its priority but at `most` of that one."""
    job = new_job(RunSpec.model_validate(old.spec), catalogue, Needs.of_lane(old.lane).suite)
    for name in _ASKED:
        setattr(job, name, getattr(old, name))
    job.priority = min(old.priority, most)
    job.retry_of = old.id
    return job


_ASKED = (
    "project",
    "owner",
    "name",
    "row",
    "tags",
    "priority",
    "max_attempts",
    "max_runtime_s",
    "init_uri",
    "suite",
    "study",
)
"""What else than the spec was asked for."""


async def project_of(session: AsyncSession, asked: str | None, caller: Caller) -> Project:
    """Returns the project that the caller submits to. Raises Invalid where it is not theirs, or takes no jobs."""
    return await open_project(session, _project_name(asked, caller), "/project")


def _project_name(asked: str | None, caller: Caller) -> str:
    name = asked or caller.project
    assert name is not None, "users and admins have a project"
    if name != caller.project and caller.role is not Role.ADMIN:
        message = f"this key has no project {name!r}; leave the field out for {caller.project!r}"
        raise Invalid("the request has faults", [Fault(pointer="/project", code="unknown_name", message=message)])
    return name
