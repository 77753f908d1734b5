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
# (`due`), and what was left out (`rest`). The rows and tasks and their heads are found by steps through ix_jobs_runs;
# all runs are read once, and counted by hashes of small numbers: sorting 100,000 takes ten times that.
_OF_LINE = """{among} AND task = lines.task AND "row" = lines."row"
               ORDER BY benchmark DESC, phase DESC, task DESC, "row" DESC, id DESC LIMIT 1"""
_CELLS = f"""
    WITH RECURSIVE lines AS (
        (SELECT task, "row" FROM jobs WHERE {{among}} ORDER BY benchmark, phase, task, "row" LIMIT 1)
        UNION ALL
        SELECT next.* FROM lines, LATERAL (
            SELECT task, "row" FROM jobs WHERE {{among}} AND (task, "row") > (lines.task, lines."row")
            ORDER BY benchmark, phase, task, "row" LIMIT 1
        ) AS next
    ), found AS MATERIALIZED (
        SELECT CAST(row_number() OVER () AS integer) AS line,
               (SELECT id FROM jobs WHERE state = 'succeeded' AND {{value}} IS NOT NULL AND {_OF_LINE}) AS measured,
               (SELECT id FROM jobs WHERE {_OF_LINE}) AS asked
        FROM lines
    ), head AS MATERIALIZED (
        SELECT line, task, "row", measured IS NOT NULL AS measured, id, cell, settings
        FROM found JOIN jobs ON id = coalesce(measured, asked)
    ), seen AS MATERIALIZED (
        SELECT line, run.id, run.state, run.reason, run.cell, run.seed, run.draw, run.value, run.id > head.id AS newer,
               run.settings = head.settings AS alike,
               measured AND run.state = 'succeeded' AND run.value IS NOT NULL
                   AND run.cell IS NOT DISTINCT FROM head.cell AS same_cell
        FROM head, LATERAL (
            SELECT id, state, reason, cell, seed, {{draw}} AS draw, settings, {{value}} AS value
            FROM jobs WHERE {{among}} AND task = head.task AND "row" = head."row" OFFSET 0
        ) AS run
    ), seeds AS MATERIALIZED (
        SELECT line, seed, draw, max(id) AS id FROM seen WHERE same_cell GROUP BY line, seed, draw
    ), chosen AS (
        SELECT line, count(*) AS runs, avg(value) AS mean, stddev_samp(value) AS std,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median,
               (array_agg(seed ORDER BY seed, draw))[1:{{listed}}] AS seeds,
               (array_agg(CAST(draw AS integer) ORDER BY seed, draw))[1:{{listed}}] AS draws,
               (array_agg(id ORDER BY seed, draw))[1:{{listed}}] AS jobs
        FROM seeds JOIN (SELECT id, value FROM seen WHERE same_cell) AS measured USING (id) GROUP BY line
    ), kinds AS MATERIALIZED (
        SELECT line, cell, state, reason, alike,
               alike AND (line, seed, draw) NOT IN (SELECT line, seed, draw FROM seeds) AS open,
               count(*) AS count, count(*) FILTER (WHERE newer) AS newer, max(id) AS newest
        FROM seen WHERE NOT same_cell GROUP BY line, cell, state, reason, alike, open
    ), rest AS (
        SELECT line, CAST(sum(count) FILTER (WHERE state = 'succeeded') AS bigint) AS others,
               count(DISTINCT cell) FILTER (WHERE state = 'succeeded') AS other_cells,
               CAST(sum(newer) FILTER (WHERE NOT alike) AS bigint) AS changed
        FROM kinds GROUP BY line
    ), ways AS (
        SELECT line, state, reason, sum(count) AS count, max(newest) AS newest
        FROM kinds WHERE open GROUP BY line, state, reason
    ), open AS (
        SELECT line, bool_or(state NOT IN ({{ended}})) AS pending,
               json_agg(json_build_object('state', state, 'reason', reason, 'count', count)
                        ORDER BY newest DESC) AS ways
        FROM ways GROUP BY line
    )
    SELECT head."row", head.task, head.id AS shown, head.measured, head.cell, runs, mean, std, median,
           coalesce(seeds, due_seeds) AS seeds, draws, coalesce(jobs, due_jobs) AS jobs,
           coalesce(others, 0) AS others, coalesce(other_cells, 0) AS other_cells, coalesce(changed, 0) AS changed,
           coalesce(ways, '[]') AS open
    FROM head LEFT JOIN chosen USING (line) LEFT JOIN rest USING (line) LEFT JOIN open USING (line)
    LEFT JOIN LATERAL (
        SELECT array_agg(DISTINCT seed) AS due_seeds, array_agg(id ORDER BY id DESC) AS due_jobs
        FROM (
            SELECT id, seed FROM jobs
            WHERE {{among}} AND task = head.task AND "row" = head."row" AND settings = head.settings
                  AND NOT head.measured AND NOT (pending AND state IN ({{ended}}))
            ORDER BY id DESC LIMIT {{listed}}
        ) AS newest
    ) AS due ON true
"""


# Postgres cannot know how few groups there are; its second core is for whoever asks for something else.
_WITHOUT_SORTS = text("""
    SELECT set_config('work_mem', '64MB', true), set_config('enable_sort', 'off', true),
           set_config('enable_memoize', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)
""")
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
    await session.execute(_WITHOUT_SORTS)
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
