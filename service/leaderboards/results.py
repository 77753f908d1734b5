"""The runs behind a table, counted and averaged by Postgres: what a table costs does not grow into this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Benchmark, BenchmarkTask, Group, Metric, State, load_benchmarks
from service.jobs.tables import Job
from service.leaderboards.schemas import LISTED_RUNS, CellView

# Of each row and task: the newest run with a result (`head`; else the newest run), the runs of its cell by seed
# (`chosen`), runs asked for like it whose seed has no result (`open`), where there is no result the newest of them
# (`due`), and what was left out (`rest`). All runs are read once and only hashed: sorting 100,000 takes ten times that.
_CELLS = """
    WITH runs AS MATERIALIZED (
        SELECT id, "row", task, state, reason, cell, seed, {draw} AS draw, settings, {value} AS value,
               state = 'succeeded' AS done
        FROM jobs
        WHERE {among}
    ), newest AS (
        SELECT "row", task, max(id) FILTER (WHERE done AND value IS NOT NULL) AS measured, max(id) AS asked
        FROM runs GROUP BY "row", task
    ), head AS MATERIALIZED (
        SELECT newest."row", newest.task, measured IS NOT NULL AS measured, id, cell, settings
        FROM newest JOIN jobs ON id = coalesce(measured, asked)
    ), seen AS MATERIALIZED (
        SELECT runs.*, head.id AS head, runs.settings = head.settings AS alike,
               head.measured AND done AND value IS NOT NULL AND runs.cell IS NOT DISTINCT FROM head.cell AS same_cell
        FROM runs JOIN head USING ("row", task)
    ), seeds AS MATERIALIZED (
        SELECT "row", task, seed, draw, max(id) AS id FROM seen WHERE same_cell GROUP BY "row", task, seed, draw
    ), chosen AS (
        SELECT "row", task, count(*) AS runs, avg(value) AS mean, stddev_samp(value) AS std,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median,
               (array_agg(seed ORDER BY seed, draw))[1:{listed}] AS seeds,
               (array_agg(CAST(draw AS integer) ORDER BY seed, draw))[1:{listed}] AS draws,
               (array_agg(id ORDER BY seed, draw))[1:{listed}] AS jobs
        FROM seeds JOIN (SELECT id, value FROM seen WHERE same_cell) AS measured USING (id) GROUP BY "row", task
    ), cells AS (
        SELECT "row", task, cell, count(*) FILTER (WHERE done AND NOT same_cell) AS others,
               count(*) FILTER (WHERE NOT alike AND NOT same_cell AND id > head) AS changed
        FROM seen GROUP BY "row", task, cell
    ), rest AS (
        SELECT "row", task, CAST(sum(others) AS bigint) AS others,
               count(cell) FILTER (WHERE others > 0) AS other_cells, CAST(sum(changed) AS bigint) AS changed
        FROM cells GROUP BY "row", task
    ), ways AS (
        SELECT seen."row", seen.task, state, reason, count(*) AS count, max(seen.id) AS newest
        FROM seen LEFT JOIN seeds
               ON (seeds."row", seeds.task, seeds.seed, seeds.draw) = (seen."row", seen.task, seen.seed, seen.draw)
        WHERE alike AND seeds.id IS NULL GROUP BY seen."row", seen.task, state, reason
    ), open AS (
        SELECT "row", task, bool_or(state NOT IN ({ended})) AS pending,
               json_agg(json_build_object('state', state, 'reason', reason, 'count', count)
                        ORDER BY newest DESC) AS ways
        FROM ways GROUP BY "row", task
    )
    SELECT head."row", head.task, head.id AS shown, head.measured, head.cell, runs, mean, std, median,
           coalesce(seeds, due_seeds) AS seeds, draws, coalesce(jobs, due_jobs) AS jobs, others, other_cells, changed,
           coalesce(ways, '[]') AS open
    FROM head LEFT JOIN chosen USING ("row", task) LEFT JOIN rest USING ("row", task) LEFT JOIN open USING ("row", task)
    LEFT JOIN LATERAL (
        SELECT array_agg(DISTINCT seed) AS due_seeds, array_agg(id ORDER BY id DESC) AS due_jobs
        FROM (
            SELECT id, seed FROM jobs
            WHERE {among} AND task = head.task AND "row" = head."row" AND settings = head.settings
                  AND NOT head.measured AND NOT (pending AND state IN ({ended}))
            ORDER BY id DESC LIMIT {listed}
        ) AS newest
    ) AS due ON true
"""


_DRAW = "coalesce(spec->'task'->>'draw', '0')"
_OF_TARGET = """(SELECT (said->>'value')::float8 FROM jsonb_array_elements(result->'metrics') AS said
                 WHERE said->>'task' = :target AND said->>'metric' = :metric AND said->>'split' = 'test' LIMIT 1)"""


Phase = Literal["search", "final"]
_SPLIT: dict[Phase, str] = {"search": "val", "final": "test"}


class Ended(TypedDict):
    """Runs without a result that stand alike: in one state, for one reason."""

    state: State
    reason: str | None
    count: int


@dataclass(frozen=True)
class Cell:
    """The facts known of one row on one task."""

    spec: dict[str, Any] | None
    """Of the run that the cell shows; None where there is none."""
    view: CellView


async def own_task(session: AsyncSession, name: str, phase: Phase, project: str | None) -> Benchmark | None:
    """Returns a benchmark of one task, a task of the users' own; None where nobody submitted a job of it.

    Its metric is accuracy, or what its newest result measures in that place.
    """
    jobs = select(Job.result["metrics"], Job.spec["task"]["source"].astext)
    jobs = jobs.where(Job.benchmark.is_(None), Job.task == name)
    if project is not None:
        jobs = jobs.where(Job.project == project)
    newest = (await session.execute(jobs.order_by(Job.result.is_(None), Job.id.desc()).limit(1))).first()
    if newest is None:
        return None
    said: list[dict[str, Any]] = newest[0] or []
    metrics = [Metric.model_validate(raw) for raw in said]
    measured = [m.metric for m in metrics if m.split == _SPLIT[phase]]
    task = BenchmarkTask(name=name, title=name, group=name, source=str(newest[1]), num_classes=0)
    return Benchmark(
        name=name,
        title=name,
        metric=measured[0] if measured and "accuracy" not in measured else "accuracy",
        mean="mean_of_tasks",
        protocol="a task of the users' own",
        groups=[Group(name=name, title=name)],
        tasks=[task],
    )


async def cells_of(
    session: AsyncSession, benchmark: Benchmark, phase: Phase, project: str | None
) -> dict[str, dict[str, Cell]]:
    """Returns row → task → cell, for every row and task with jobs in that phase. None as project: every project's."""
    await session.execute(text("SET LOCAL work_mem = '64MB'"))
    found = [dict(row) for row in await _rows(session, benchmark, phase, project)]
    for task in benchmark.tasks if phase == "final" else []:
        if task.measured_with:
            others = await _rows(session, benchmark, phase, project, measured=task)
            found += [{**row, "task": task.name} for row in others]
    specs = await session.execute(select(Job.id, Job.spec).where(Job.id.in_({row["shown"] for row in found})))
    spec_of = {job: spec for job, spec in specs}
    cells: dict[str, dict[str, Cell]] = {}
    for row in found:
        view = _measured(row, benchmark) if row["measured"] else _without_result(row)
        cells.setdefault(row["row"], {})[row["task"]] = Cell(spec_of[row["shown"]], view)
    return cells


async def _rows(
    session: AsyncSession,
    benchmark: Benchmark,
    phase: Phase,
    project: str | None,
    measured: BenchmarkTask | None = None,
) -> Sequence[RowMapping]:
    """The facts of every row and task; with `measured`, of that task by the runs that measure it beside their own."""
    of_benchmark = "benchmark = :name" if benchmark.name in load_benchmarks() else "benchmark IS NULL AND task = :name"
    if measured:
        of_benchmark = "benchmark = :name AND task = :trained"
    of_project = "" if project is None else "AND project = :project"
    query = _CELLS.format(
        among=f"{of_benchmark} AND phase = :phase {of_project}",
        ended=", ".join(f"'{state}'" for state in State if state.ended),
        value=_OF_TARGET if measured else "value",
        draw=_DRAW if benchmark.draws > 1 else "0",
        listed=LISTED_RUNS,
    )
    values = {"name": benchmark.name, "phase": phase, "project": project}
    if measured:
        said = {"trained": measured.measured_with, "target": f"{benchmark.name}/{measured.name}"}
        values |= {**said, "metric": benchmark.metric}
    return (await session.execute(text(query), values)).mappings().all()


def _measured(row: dict[str, Any], benchmark: Benchmark) -> CellView:
    return CellView(
        status="measured",
        mean=row[benchmark.over_seeds],
        std=row["std"],
        runs=row["runs"],
        seeds=row["seeds"],
        draws=row["draws"] if benchmark.draws > 1 else [],
        jobs=row["jobs"],
        cell=row["cell"],
        published=None,
        best=False,
        notes=[*_counted(row["open"]), *_left_out(row)],
    )


def _without_result(row: dict[str, Any]) -> CellView:
    ways: list[Ended] = row["open"]
    pending = [way for way in ways if not State(way["state"]).ended]
    refused = not pending and all(way["reason"] == "spec_invalid" for way in ways)
    return CellView(
        status="pending" if pending else "refused" if refused else "failed",
        mean=None,
        std=None,
        runs=0,
        seeds=row["seeds"],
        jobs=row["jobs"],
        cell=None,
        published=None,
        best=False,
        notes=_counted(ways),
    )


def _left_out(row: dict[str, Any]) -> list[str]:
    notes: list[str] = []
    if row["others"]:
        of = "another cell" if row["other_cells"] == 1 else f"{row['other_cells']} other cells"
        notes.append(f"{_runs(row['others'], 'earlier ')} of {of} left out: other settings, data or weights")
    if row["changed"]:
        notes.append(f"without result, or still to come: {_runs(row['changed'], 'newer ')} with other settings")
    return notes


def _counted(ways: list[Ended]) -> list[str]:
    total = sum(way["count"] for way in ways)
    pending = sum(way["count"] for way in ways if not State(way["state"]).ended)
    notes = [f"{_runs(pending)} still to end"] if pending else []
    reasons: dict[str | None, int] = {}
    for way in ways:
        if way["state"] in (State.FAILED, State.CANCELLED):
            reasons[way["reason"]] = reasons.get(way["reason"], 0) + way["count"]
    return notes + [f"{count} of {total} runs without result: {reason}" for reason, count in reasons.items()]


def _runs(count: int, which: str = "") -> str:
    return f"{count} {which}run{'' if count == 1 else 's'}"
