"""`pace leaderboard`."""

from typing import Annotated

import typer

from pace_core.spec.benchmarks import load_benchmarks
from pace_core.spec.suggest import did_you_mean
from service.client import Client, Leaderboard
from service.client.cli import filters
from service.client.cli.output import (
    AsCsv,
    AsJson,
    cell,
    failed,
    form,
    out,
    plain,
    print_as,
    print_bibtex,
    print_table,
    print_text,
    table,
)
from service.client.comparison import Phase
from service.leaderboards.schemas import CellView, GroupView, MeanView, RowView

_WORDS = {"pending": "…", "failed": "failed", "refused": "refused"}


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(leaderboard)


def leaderboard(
    benchmark: Annotated[str, typer.Argument(help="Such as vtab-mini, or a task of your own.")],
    phase: Annotated[
        Phase | None,
        typer.Option(help="search: validation data; final: test data; else what is reported."),
    ] = None,
    row: Annotated[list[str], typer.Option("--row", help="Only rows of this label; several times for several.")] = [],  # noqa: B006
    project: filters.Project = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX of what the published rows quote.")] = False,
) -> None:
    """Show a benchmark's table, or that of your own task: rows × tasks, measured beside published."""
    shape = form(as_json, as_csv, bibtex)
    with Client() as client:
        board = client.leaderboard(benchmark, phase=phase, project=project)
    if row:
        labels = [view.label for view in board.rows]
        if unknown := [label for label in row if label not in labels]:
            raise failed(f"the table has no row {unknown[0]!r}{did_you_mean(unknown[0], labels)}")
        board = board.model_copy(update={"rows": [view for view in board.rows if view.label in row]})
    if bibtex:
        print_bibtex(board.bibtex, board.title)
        return
    print_as(
        shape,
        data=board.model_dump(mode="json"),
        rows=_records(board),
        columns=_COLUMNS,
        show=lambda: print_leaderboard(board),
    )


_COLUMNS = ("row", "kind", "task", "status", "mean", "std", "runs", "seeds", "draws", "published", "jobs")


def _records(board: Leaderboard) -> list[dict[str, object]]:
    return [
        {
            **view.model_dump(include={"status", "mean", "std", "runs", "published"}),
            "row": row.label,
            "kind": row.kind,
            "task": task,
            "seeds": " ".join(map(str, view.seeds)),
            "draws": " ".join(map(str, view.draws)),
            "jobs": " ".join(view.jobs),
        }
        for row in board.rows
        for task, view in row.cells.items()
    ]


def print_leaderboard(board: Leaderboard) -> None:
    """Prints percentages, mean ± standard deviation; `*` marks the best of a column, notes stand below.

    The number of runs stands behind every mean, or once at the top where it is the same for all.
    """
    console = out()
    counts = {view.runs for row in board.rows for view in row.cells.values() if view.runs}
    said = f"{board.metric} in percent{_over(counts)}; * best of its column"
    console.print(f"[bold]{cell(board.title)}[/]  {said}")
    if not board.rows and board.benchmark in load_benchmarks():
        console.print(f"no runs yet; `pace catalogue recipes` lists what there is to run on {plain(board.benchmark)}")
        return
    if not board.rows:
        other = "final" if board.phase == "search" else "search"
        console.print(f"no runs in phase {board.phase}; --phase {other} shows the others")
        return
    notes: list[str] = []
    groups = _with_something(board)
    columns: list[str] = []
    for group in groups:
        columns += [f">{cell(task)}" for task in group.tasks]
        columns += [f">[italic]{plain(group.title)}[/]"] if _has_mean(group, groups) else []
    shown = table("row", *columns, *([">mean"] if _has_total(groups) else []))
    measured = [row for row in board.rows if row.kind == "measured"]
    published = [row for row in board.rows if row.kind == "published"]
    sources = list(dict.fromkeys(row.source for row in published if row.source))
    for rows in (measured, *([row for row in published if row.source == source] for source in sources)):
        for row in rows:
            shown.add_row(*_row(groups, row, notes, counted=len(counts) > 1, named=row.source in sources[1:]))
        shown.add_section()
    print_table(shown)
    tasks = [task for group in groups for task in group.tasks]
    if unseen := [task.name for task in board.tasks if task.name not in tasks]:
        print_text(f"  no runs yet: {', '.join(unseen)}")
    for number, note in enumerate(notes, 1):
        print_text(f"  {number}) {note}")
    for note in board.notes:
        print_text(f"  {note}")
    for source in sources[:1]:
        print_text(f"  published{', where no note says otherwise' if len(sources) > 1 else ''}: {source}")


def _over(counts: set[int]) -> str:
    """Says what the numbers are means of, by the numbers of runs that occur."""
    match sorted(counts):
        case []:
            return ""
        case [1]:
            return ", one run each"
        case [same]:
            return f", mean ± std of {same} runs each"
        case _:
            return ", mean ± std (runs)"


def _with_something(board: Leaderboard) -> list[GroupView]:
    """Returns the groups with those of their tasks that some row has anything of."""
    known = {task for row in board.rows for task in row.cells}
    groups = [
        group.model_copy(update={"tasks": [task for task in group.tasks if task in known]}) for group in board.groups
    ]
    return [group for group in groups if group.tasks]


def _has_total(groups: list[GroupView]) -> bool:
    return sum(len(group.tasks) for group in groups) > 1


def _has_mean(group: GroupView, groups: list[GroupView]) -> bool:
    """Tells whether the mean of the group would say anything that its tasks and the total do not."""
    return len(group.tasks) > 1 and len(groups) > 1


def _row(groups: list[GroupView], row: RowView, notes: list[str], counted: bool, named: bool) -> list[str]:
    label = cell(row.label) + (" [dim](published)[/]" if row.kind == "published" else "")
    texts = [label + _marks([*row.notes, *([f"published: {row.source}"] if named else [])], notes)]
    for group in groups:
        texts += [_cell(row.cells.get(task), notes, counted) for task in group.tasks]
        texts += [_mean(row.groups.get(group.name))] if _has_mean(group, groups) else []
    return [*texts, _mean(row.mean)] if _has_total(groups) else texts


def _cell(view: CellView | None, notes: list[str], counted: bool) -> str:
    if view is None:
        return "–"
    if view.mean is None:
        return f"[yellow]{_WORDS[view.status]}[/]" + _marks(view.notes, notes)
    text = f"{100 * view.mean:.1f}"
    if view.std is not None:
        text += f" ± {100 * view.std:.1f}"
    if counted and view.runs:
        text += f" ({view.runs})"
    if view.published is not None:
        text += f" [dim]paper {100 * view.published:.1f}[/]"
    return _best(text, view.best) + _marks(view.notes, notes)


def _mean(mean: MeanView | None) -> str:
    if mean is None:
        return "–"
    text = f"{100 * mean.value:.1f}"
    return _best(text if mean.complete else f"{text} of {mean.tasks}", mean.best)


def _best(text: str, best: bool) -> str:
    return f"[bold green]{text}*[/]" if best else text


def _marks(said: list[str], notes: list[str]) -> str:
    """Numbers of the notes; a note said before keeps its number."""
    for note in said:
        if note not in notes:
            notes.append(note)
    numbers = ",".join(str(notes.index(note) + 1) for note in said)
    return f" [dim]{numbers})[/]" if numbers else ""
