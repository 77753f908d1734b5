"""`pace leaderboard`."""

from typing import Annotated

import typer

from service.client import Client, Leaderboard
from service.client.cli.output import out, plain, print_table, table
from service.leaderboards.schemas import CellView, MeanView, RowView

_WORDS = {"pending": "…", "failed": "failed", "refused": "refused"}


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(leaderboard)


def leaderboard(benchmark: Annotated[str, typer.Argument(help="Such as vtab-mini.")]) -> None:
    """Show a benchmark's table: rows × tasks, measured beside published."""
    with Client() as client:
        print_leaderboard(client.leaderboard(benchmark))


def print_leaderboard(board: Leaderboard) -> None:
    """Percentages, mean ± standard deviation; `*` marks the best of a column, notes stand below.

    The number of runs stands behind every mean, or once at the top where it is the same for all.
    """
    console = out()
    counts = {cell.runs for row in board.rows for cell in row.cells.values() if cell.runs}
    said = f"{board.metric} in percent{_over(counts)}; * best of its column"
    console.print(f"[bold]{plain(board.title)}[/]  {said}")
    if not board.rows:
        console.print(f"no runs yet; `pace catalogue recipes` lists what there is to run on {plain(board.benchmark)}")
        return
    notes: list[str] = []
    columns = [">mean"]
    for group in reversed(board.groups):
        columns = [*(f">{plain(task)}" for task in group.tasks), f">[italic]{plain(group.title)}[/]", *columns]
    shown = table("row", *columns)
    measured = [row for row in board.rows if row.kind == "measured"]
    published = [row for row in board.rows if row.kind == "published"]
    for rows in (measured, published):
        for row in rows:
            shown.add_row(*_row(board, row, notes, counted=len(counts) > 1))
        if rows is measured and published:
            shown.add_section()
    print_table(shown)
    for number, note in enumerate(notes, 1):
        console.print(f"  {number}) {plain(note)}")
    for note in board.notes:
        console.print(f"  {plain(note)}")
    for source in dict.fromkeys(row.source for row in published if row.source):
        console.print(f"  published: {plain(source)}")


def _over(counts: set[int]) -> str:
    """What the numbers are means of, by the numbers of runs that occur."""
    match sorted(counts):
        case []:
            return ""
        case [1]:
            return ", one run each"
        case [same]:
            return f", mean ± std of {same} runs each"
        case _:
            return ", mean ± std (runs)"


def _row(board: Leaderboard, row: RowView, notes: list[str], counted: bool) -> list[str]:
    label = plain(row.label) + (" [dim](published)[/]" if row.kind == "published" else "")
    texts = [label + _marks(row.notes, notes)]
    for group in board.groups:
        texts += [_cell(row.cells.get(task), notes, counted) for task in group.tasks]
        texts.append(_mean(row.groups.get(group.name)))
    return [*texts, _mean(row.mean)]


def _cell(cell: CellView | None, notes: list[str], counted: bool) -> str:
    if cell is None:
        return "–"
    if cell.mean is None:
        return f"[yellow]{_WORDS[cell.status]}[/]" + _marks(cell.notes, notes)
    text = f"{100 * cell.mean:.1f}"
    if cell.std is not None:
        text += f" ± {100 * cell.std:.1f}"
    if counted and cell.runs:
        text += f" ({cell.runs})"
    if cell.published is not None:
        text += f" [dim]paper {100 * cell.published:.1f}[/]"
    return _best(text, cell.best) + _marks(cell.notes, notes)


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
