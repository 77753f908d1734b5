"""A benchmark's table: measured rows out of its runs, published ones beside them."""

from typing import Literal

from pace_core.spec import Benchmark, Catalogue, PublishedRow, PublishedTable, bibtex_of, published_beside
from pace_core.spec.departures import departures, inferred, recipes_of, refusal
from service.leaderboards.means import add_means, mark_best
from service.leaderboards.results import Cell
from service.leaderboards.schemas import CellView, GroupView, Leaderboard, MeanView, RowView, TaskView


def leaderboard(
    benchmark: Benchmark,
    phase: Literal["search", "final"],
    project: str | None,
    cells: dict[str, dict[str, Cell]],
    catalogue: Catalogue,
) -> Leaderboard:
    """Builds the whole table out of what is known by row and task."""
    tables = [table for table in published_beside(benchmark.name) if table.metric == benchmark.metric]
    measured = _measured(benchmark, cells, catalogue)
    for row in measured:
        add_means(row, benchmark)
    printed = _printed(tables, benchmark) if phase == benchmark.phase else []
    published = [row for row, _ in printed]
    _set_beside(measured, published)
    mark_best(measured + [row for row, comparable in printed if comparable])
    return Leaderboard(
        benchmark=benchmark.name,
        title=benchmark.title,
        metric=benchmark.metric,
        phase=phase,
        project=project,
        protocol=benchmark.protocol,
        groups=[
            GroupView(name=g.name, title=g.title, tasks=[t.name for t in benchmark.tasks if t.group == g.name])
            for g in benchmark.groups
        ],
        tasks=[TaskView(name=task.name, title=task.title, group=task.group) for task in benchmark.tasks],
        rows=measured + published,
        notes=_notes(benchmark, phase, tables),
        bibtex=bibtex_of(row.cite for row in published if row.cite),
    )


def _measured(benchmark: Benchmark, cells: dict[str, dict[str, Cell]], catalogue: Catalogue) -> list[RowView]:
    order = [row.label for recipe in recipes_of(benchmark.name) for row in recipe.rows]
    labels = sorted(cells, key=lambda label: (order.index(label) if label in order else len(order), label))
    return [_row(benchmark, label, cells[label], catalogue) for label in labels]


def _row(benchmark: Benchmark, label: str, cells: dict[str, Cell], catalogue: Catalogue) -> RowView:
    row = RowView(label=label, kind="measured", source=None, cells={}, groups={}, mean=None, notes=[])
    said: dict[str, list[str]] = {}
    for task in benchmark.tasks:
        cell = cells.get(task.name)
        if cell:
            if cell.spec is not None:
                clauses = departures(cell.spec, label, catalogue)
                said[task.name] = [*(f"another protocol: {one}" for one in clauses), *inferred(cell.spec, label)]
            row.cells[task.name] = cell.view
        elif not task.measured_with and (reason := refusal(benchmark.name, label, task.name, catalogue)):
            row.cells[task.name] = _empty("refused", [reason])
    _add_notes(row, said)
    bad = [name for name, cell in row.cells.items() if cell.status in ("failed", "refused")]
    if bad:
        row.notes.append(f"without result (failed or refused): {', '.join(bad)}")
    return row


def _add_notes(row: RowView, said: dict[str, list[str]]) -> None:
    """What is to be said of all cells is said once, of the row."""
    first = next(iter(said.values())) if said else []
    everywhere = [note for note in first if all(note in other for other in said.values())]
    row.notes += everywhere
    for task, notes in said.items():
        row.cells[task].notes += [note for note in notes if note not in everywhere]


def _printed(tables: list[PublishedTable], benchmark: Benchmark) -> list[tuple[RowView, bool]]:
    """Returns the published rows, those that an earlier table has too left out, and whether each may be the best."""
    found: list[tuple[RowView, bool]] = []
    seen: set[tuple[object, ...]] = set()
    for table in tables:
        for printed in table.rows:
            same = (
                printed.label.casefold(),
                *sorted(printed.values.items()),
                printed.mean if not printed.values else 0,
            )
            if same not in seen:
                seen.add(same)
                found.append((_as_printed(printed, table, benchmark), not printed.setting and not printed.doubt))
    return found


def _as_printed(printed: PublishedRow, table: PublishedTable, benchmark: Benchmark) -> RowView:
    """The row with the means that the source prints, where it takes them as the benchmark does; else with ours."""
    said = {
        "": printed.note,
        "erratum: ": printed.erratum,
        "doubtful: ": printed.doubt,
        "another protocol: ": printed.setting,
    }
    cells = {task: _empty("published", [], value / 100) for task, value in printed.values.items()}
    row = RowView(
        label=printed.label,
        kind="published",
        source=table.source_of(printed),
        cite=table.cited_by(printed),
        cells={task: cell for task, cell in cells.items() if benchmark.task(task)},
        groups={},
        mean=None,
        notes=[f"{kind}{text}" for kind, text in said.items() if text],
    )
    add_means(row, benchmark)
    for group, value in printed.groups.items():
        row.groups[group] = _whole(value, sum(task.group == group for task in benchmark.averaged))
    if printed.mean is not None and table.mean in (None, benchmark.mean):
        row.mean = _whole(printed.mean, len(benchmark.averaged))
    return row


def _whole(percent: float, tasks: int) -> MeanView:
    return MeanView(value=percent / 100, tasks=tasks, complete=True, best=False)


def _set_beside(measured: list[RowView], published: list[RowView]) -> None:
    for row in measured:
        printed = next((other for other in published if other.label.casefold() == row.label.casefold()), None)
        for task, cell in row.cells.items():
            if printed and task in printed.cells:
                cell.published = printed.cells[task].mean


def _notes(benchmark: Benchmark, phase: str, tables: list[PublishedTable]) -> list[str]:
    notes = [f"{table.source}: {table.note}" for table in tables if table.note and phase == benchmark.phase]
    if phase == "search" != benchmark.phase:
        notes.append("measured on validation images, to choose settings by; not to be set beside test results")
    return notes


def _empty(status: Literal["published", "refused"], notes: list[str], mean: float | None = None) -> CellView:
    return CellView(
        status=status,
        mean=mean,
        std=None,
        runs=0,
        seeds=[],
        jobs=[],
        cell=None,
        published=None,
        best=False,
        notes=notes,
    )
