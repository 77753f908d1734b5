"""Uploaded data sets that a suite's runs are on: known, usable, and counted, before anything is queued."""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Resources, RunSpec
from service.jobs.uploads import counted, named_by, reports
from service.studies.submission import with_images as laid_over
from service.suites.plan import Plan


async def with_counts(session: AsyncSession, plan: Plan, project: str) -> Plan:
    """Returns the plan with the images that the checks counted. Raises Invalid for data sets that cannot be used."""
    sections = {str(task.get("dataset")): at for at, task in enumerate(plan.request.tasks) if not isinstance(task, str)}
    names: dict[str, str] = {}
    for run in plan.runs:
        name = named_by(run.spec) if run.spec else None
        if name is not None:
            names[name] = f"/tasks/{sections[name]}/dataset" if name in sections else "/rows"
    if not names:
        return plan
    found = await reports(session, project, names)
    known: dict[tuple[str, str, int], Resources] = {}  # shared, as what specs have in common is

    def with_images(spec: RunSpec, name: str) -> RunSpec:
        key = name, spec.task.phase, id(spec.resources)
        if key not in known:
            known[key] = counted(spec, found[name]).resources
        return spec.model_copy(update={"resources": known[key]})

    runs = [
        replace(run, spec=with_images(run.spec, name)) if run.spec and (name := named_by(run.spec)) else run
        for run in plan.runs
    ]
    searches = {
        key: replace(search, request=laid_over(search.request, search.spec, found[name]))
        if (name := named_by(search.spec))
        else search
        for key, search in plan.searches.items()
    }
    return replace(plan, runs=runs, searches=searches)
