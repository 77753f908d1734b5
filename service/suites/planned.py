"""Plan of a suite's runs, and its cost."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue
from service.clusters.fit import seen_slots
from service.clusters.needs import Needs
from service.jobs.cost import Cost, cost_of, rates_of
from service.jobs.reuse import Found, equal_jobs
from service.jobs.submission import new_job, project_of
from service.keys.auth import Caller
from service.settings import Settings
from service.studies.space import expected_epochs, rungs_of, trials_of
from service.suites.plan import Key, Plan, Search
from service.suites.schemas import PlannedRun, PlannedSearch, SuitePlan
from service.suites.uploads import with_counts


async def planned(
    session: AsyncSession, plan: Plan, caller: Caller, catalogue: Catalogue, settings: Settings
) -> SuitePlan:
    """Returns what the suite would do, and stores nothing."""
    request = plan.request
    project = (await project_of(session, request.project, caller)).name
    plan = await with_counts(session, plan, project)
    found = await _done_already(session, project, plan) if request.reuse else {}
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
                draw=run.draw,
                action=action,
                job=taken.job if taken else None,
                reason=run.refused,
                seconds=cost[run.row, run.task].seconds if run.spec else None,
            )
        )
    searches = [_planned_search(row, task, search, cost[row, task]) for (row, task), search in plan.searches.items()]
    new = [run for run in runs if run.action == "new"]
    known = [each.seconds for each in (*new, *searches) if each.seconds is not None]
    jobs = len(new) + sum(search.trials for search in searches)
    seconds = sum(known) if len(known) == len(new) + len(searches) else None
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
        draws=plan.draws,
        runs=runs,
        searches=searches,
        trials=sum(search.trials for search in searches),
        new=len(new),
        reused=sum(run.action == "reused" for run in runs),
        shared=sum(run.action == "shared" for run in runs),
        refused=sum(run.action == "refused" for run in runs),
        slot_minutes=None if seconds is None else seconds / 60,
        measured=sum(cost[run.row, run.task].measured for run in new),
        slots=count,
        minutes=None if seconds is None or not at_once else seconds / 60 / min(at_once, max(jobs, 1)),
        waiting_for=slots.lacking(needs) if needs else None,
    )


async def _done_already(session: AsyncSession, project: str, plan: Plan) -> dict[Key, Found]:
    """Returns, of the plan's runs that are not searched before, those that a job of the project does already."""
    direct = {
        run.key: run.spec for run in plan.runs if run.spec is not None and (run.row, run.task) not in plan.searches
    }
    return await equal_jobs(session, project, direct, lambda key: (key.row, key.task, key.draw))


async def costs(
    session: AsyncSession, project: str, plan: Plan, catalogue: Catalogue
) -> Mapping[tuple[str, str], Cost]:
    """Returns row and task → what one run takes."""
    rates = await rates_of(session, project)
    found: dict[tuple[str, str], Cost] = {}
    for run in plan.runs:
        if run.spec is not None and (run.row, run.task) not in found:
            found[run.row, run.task] = cost_of(run.spec, run.task, rates, catalogue)
    return found


def _planned_search(row: str, task: str, search: Search, cost: Cost) -> PlannedSearch:
    whole = search.spec.training.epochs
    epochs = expected_epochs(search.request, rungs_of(search.request, whole))
    seconds = None if cost.seconds is None else cost.seconds * epochs / max(whole, 1)
    return PlannedSearch(row=row, task=task, trials=trials_of(search.request), epochs=epochs, seconds=seconds)
