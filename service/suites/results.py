"""A suite's table: the leaderboard of its own runs, and what its rows differ by."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

from sqlalchemy import case, null, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, State, load_benchmarks
from service.jobs.tables import Job
from service.leaderboards.results import Cell
from service.leaderboards.schemas import LISTED_RUNS, CellView
from service.leaderboards.table import leaderboard
from service.studies.queries import best_of, trials
from service.studies.queries import request_of as study_request_of
from service.studies.tables import Study
from service.suites.differences import differences
from service.suites.plan import Plan, plan
from service.suites.queries import search_state
from service.suites.schemas import SearchView, SuiteTable
from service.suites.submission import request_of
from service.suites.tables import Suite, SuiteRun


async def table_of(session: AsyncSession, suite: Suite, catalogue: Catalogue) -> SuiteTable:
    """Returns the table as it is now."""
    found = await session.execute(
        select(
            *(SuiteRun.row, SuiteRun.task, SuiteRun.seed, SuiteRun.draw, SuiteRun.refused),
            *(Job.id, Job.state, Job.reason, Job.message, Job.cell, Job.value),
            (Job.result["metrics"] if _measures_others(suite) else null()).label("metrics"),
            case((SuiteRun.study.is_not(None), search_state()), else_=None).label("search"),
            Study.failed.label("search_failed"),
        )
        .join(Job, Job.id == SuiteRun.job, isouter=True)
        .join(Study, Study.id == SuiteRun.study, isouter=True)
        .where(SuiteRun.suite == suite.id)
    )
    of_cell: dict[str, dict[str, list[Any]]] = {}
    for run in found:
        of_cell.setdefault(run.row, {}).setdefault(run.task, []).append(run)
    newest = [_newest(runs) for row in of_cell.values() for runs in row.values()]
    specs: dict[str, dict[str, Any]] = {
        job: spec for job, spec in await session.execute(select(Job.id, Job.spec).where(Job.id.in_(newest)))
    }
    table = await asyncio.to_thread(_table, suite, of_cell, specs, catalogue)
    return table.model_copy(update={"searches": await _searches(session, suite)})


def _measures_others(suite: Suite) -> bool:
    """Tells whether runs of the suite's benchmark measure other tasks of it beside their own."""
    benchmark = load_benchmarks().get(suite.benchmark or "")
    return benchmark is not None and benchmark.trained != benchmark.tasks


async def _searches(session: AsyncSession, suite: Suite) -> list[SearchView]:
    if suite.request.get("search") is None:
        return []
    ran = select(SuiteRun.row, SuiteRun.task, SuiteRun.study).where(SuiteRun.suite == suite.id).distinct()
    places = {study: (row, task) for row, task, study in await session.execute(ran) if study}
    found = await session.execute(select(Study, search_state()).where(Study.id.in_(places)).order_by(Study.id))
    views: list[SearchView] = []
    for study, state in found:
        tried = await trials(session, study)
        best = best_of(tried, study_request_of(study).mode) if study.searched_at else None
        views.append(
            SearchView(
                row=places[study.id][0],
                task=places[study.id][1],
                study=study.id,
                state="found" if best and state == "deleted" else _STATES.get(state, "failed"),
                message=study.failed,
                trials=study.trials,
                ended=sum(trial.state != "running" for trial in tried),
                found=best.config if best else None,
                value=best.value if best else None,
            )
        )
    return views


_STATES: Mapping[str, Literal["queued", "searching", "paused", "failed", "cancelled"]] = {
    "queued": "queued",
    "searching": "searching",
    "paused": "paused",
    "cancelled": "cancelled",
}


def _newest(runs: Sequence[Any]) -> str:
    ids: list[str] = [run.id for run in runs if run.id]
    return max(ids, default="")


def _table(
    suite: Suite, of_cell: dict[str, dict[str, list[Any]]], specs: dict[str, dict[str, Any]], catalogue: Catalogue
) -> SuiteTable:
    whole = plan(request_of(suite), catalogue)
    over_seeds = whole.benchmark.over_seeds
    cells: dict[str, dict[str, Cell]] = {}
    values: dict[str, dict[str, dict[tuple[int, int], float]]] = {}
    beside_of = {t.name: t.measured_with for t in whole.benchmark.tasks if t.measured_with and suite.phase == "final"}
    for row, tasks in of_cell.items():
        for task, runs in tasks.items():
            spec = next((specs[run.id] for run in sorted(runs, key=lambda run: run.id or "") if run.id in specs), None)
            for name in (task, *(other for other, trained in beside_of.items() if trained == task)):
                own = runs if name == task else [_measuring(run, f"{whole.benchmark.name}/{name}") for run in runs]
                averaged = _same_cell(own)
                cells.setdefault(row, {})[name] = Cell(
                    spec, _view(own, averaged, over_seeds, drawn=whole.benchmark.draws > 1)
                )
                if averaged:
                    values.setdefault(row, {})[name] = {(run.seed, run.draw): run.value for run in averaged}
    board = leaderboard(whole.benchmark, whole.request.phase, suite.project, cells, catalogue)
    measured = sorted((row for row in board.rows if row.kind == "measured"), key=lambda row: _place(whole, row.label))
    board.rows = [*measured, *(row for row in board.rows if row.kind == "published")]
    if suite.stopped:
        board.notes.insert(0, f"the suite stopped: {suite.stopped}")
    beside = {row.label: row for row in board.rows if row.kind == "published"}
    return SuiteTable(
        **dict(board), suite=suite.id, name=suite.name, differences=differences(whole, values, beside), searches=[]
    )


_SEARCHING = ("queued", "searching", "paused")


def _measuring(run: Any, task: str) -> Any:
    """The run with what it measured on that task in the place of its own value."""
    said: list[dict[str, Any]] = run.metrics or []
    value = next((one["value"] for one in said if one["task"] == task and one["split"] == "test"), None)
    return SimpleNamespace(**{**run._asdict(), "value": value})


def _repeat(run: Any) -> tuple[int, int]:
    return run.seed, run.draw


def _place(whole: Plan, label: str) -> int:
    return whole.rows.index(label) if label in whole.rows else len(whole.rows)


def _same_cell(runs: Sequence[Any]) -> list[Any]:
    """The runs with a result of the newest one's settings, data and weights, by seed and draw."""
    done = [run for run in runs if run.state == State.SUCCEEDED and run.value is not None]
    newest = max(done, key=lambda run: run.id, default=None)
    return sorted((run for run in done if run.cell == newest.cell), key=_repeat) if newest else []


def _view(runs: Sequence[Any], averaged: Sequence[Any], over_seeds: Literal["mean", "median"], drawn: bool) -> CellView:
    values = [run.value for run in averaged]
    states = {run.state for run in runs}
    pending = [run for run in runs if (run.search in _SEARCHING if run.state is None else not State(run.state).ended)]
    listed = averaged or [run for run in pending if run.id] or [run for run in runs if run.id]
    mean = statistics.median if over_seeds == "median" else statistics.fmean
    return CellView(
        status="measured" if averaged else "pending" if pending else "refused" if _refused(runs) else "failed",
        mean=mean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        runs=len(values),
        seeds=[run.seed for run in sorted(averaged or runs, key=_repeat)][:LISTED_RUNS],
        draws=[run.draw for run in sorted(averaged or runs, key=_repeat)][:LISTED_RUNS] if drawn else [],
        jobs=[run.id for run in sorted(listed, key=_repeat)][:LISTED_RUNS],
        cell=averaged[0].cell if averaged else None,
        published=None,
        best=False,
        notes=_notes(runs, averaged, len(pending)) if len(averaged) < len(runs) or states != {State.SUCCEEDED} else [],
    )


def _refused(runs: Sequence[Any]) -> bool:
    return all(run.refused or run.reason == "spec_invalid" for run in runs)


def _notes(runs: Sequence[Any], averaged: Sequence[Any], pending: int) -> list[str]:
    notes = [f"{pending} of {len(runs)} runs still to end"] if pending else []
    if any(run.id is None and run.search in _SEARCHING for run in runs):
        notes = ["its settings are being searched"]
    used = {_repeat(run) for run in averaged}
    others = sum(run.state == State.SUCCEEDED and _repeat(run) not in used for run in runs)
    if others:
        notes.append(f"{others} of {len(runs)} runs left out: of other data or weights, or without the metric")
    reasons = Counter(_why(run) for run in runs)
    for reason, count in reasons.items():
        if reason is not None:
            notes.append(reason if count == len(runs) else f"{count} of {len(runs)} runs: {reason}")
    return notes


def _why(run: Any) -> str | None:
    """Why the run has no result; None where it has one or may still get one."""
    if run.refused:
        return f"refused: {run.refused}"
    if run.id is None and run.search in _SEARCHING:
        return None
    if run.id is None and run.search in ("failed", "cancelled"):
        return f"its search {run.search}: {run.search_failed}" if run.search_failed else f"its search was {run.search}"
    if run.id is None:
        return "its job was deleted"
    if run.state in (State.FAILED, State.CANCELLED):
        return f"{run.reason}: {run.message}"
    return None
