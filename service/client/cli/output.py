"""Output of commands: tables for people, JSON and CSV for programs, colour only on a terminal."""

import csv
import json
import re
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pace_core.spec.lifecycle import State

M = TypeVar("M", bound=BaseModel)

WIDTH = 100
"""Columns that tables and errors fit where they are piped; tables take the whole width of a terminal."""
_NARROWEST = 40
_SHORTEST = 7  # columns that are left of a text, however long its neighbours are

_STYLES = {
    State.QUEUED: "yellow",
    State.STARTING: "cyan",
    State.RUNNING: "cyan",
    State.PAUSED: "magenta",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "dim",
}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: everything, nothing shortened.")]
AsOneJson = Annotated[
    bool, typer.Option("--json", help="Print JSON: the plan with --dry-run, what was made with --detach.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, with a line of column names.")]


class Form(StrEnum):
    """The format in which a list is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form(as_json: bool, as_csv: bool, bibtex: bool = False) -> Form:
    """Returns the form that the flags ask for. Raises typer.BadParameter where they ask for two things."""
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    if bibtex and (as_json or as_csv):
        raise typer.BadParameter("give --bibtex alone; --json has the same entries in its field bibtex")
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE


def json_is_of_one_answer(as_json: bool, dry_run: bool, detach: bool) -> None:
    """Raises typer.BadParameter where a command that waits and shows several things is to print JSON."""
    if as_json and not (dry_run or detach):
        raise typer.BadParameter("--json goes with --dry-run or --detach; `… show --wait --json` has the table")


def print_as(
    shape: Form,
    *,
    data: object,
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str],
    show: Callable[[], None],
) -> None:
    """Prints `data` as JSON, `rows` under a line of columns as CSV, or what `show` prints for people."""
    match shape:
        case Form.JSON:
            print_json(data)
        case Form.CSV:
            print_csv(rows, columns)
        case Form.TABLE:
            show()


def print_models(shape: Form, kind: type[M], found: Sequence[M], show: Callable[[], None]) -> None:
    """Prints what the service said as JSON or CSV with all its fields, or what `show` prints for people."""
    data = [model.model_dump(mode="json") for model in found]
    rows = ({name: json.dumps(v) if isinstance(v, dict) else v for name, v in record.items()} for record in data)
    print_as(shape, data=data, rows=rows, columns=tuple(kind.model_fields), show=show)


@contextmanager
def going_on(what: str) -> Generator[None]:
    """Says what goes on when Ctrl-C ends the command's own waiting; the exit code is then 130."""
    try:
        yield
    except KeyboardInterrupt:
        err().print(f"\n{plain(_folded(what, indent='  '))}")
        raise typer.Exit(130) from None


def print_json(value: object) -> None:
    """Prints plain data as JSON, keys in their order."""
    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_csv(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Prints rows under a line of column names, each as it comes; what is not there is an empty field."""
    out = csv.DictWriter(sys.stdout, columns, restval="", extrasaction="ignore", lineterminator="\n")
    out.writeheader()
    for row in rows:
        out.writerow(row)
        sys.stdout.flush()


def print_bibtex(entries: str, title: str) -> None:
    """Prints BibTeX entries. Raises a failure where the table quotes nothing."""
    if not entries:
        raise failed(f"{title} has no published rows here, so it quotes nothing")
    write(f"{entries}\n")


def write(text: str) -> None:
    """Prints text as it is, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def out() -> Console:
    """Returns the console for results; lines are not wrapped, so that they can be searched and piped."""
    return Console(highlight=False, soft_wrap=True, emoji=False)


def err() -> Console:
    """Returns the console for errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def failed(message: str) -> typer.Exit:
    """Prints an error and returns the exception with which a command ends."""
    print_error(message)
    return typer.Exit(1)


def print_error(*lines: str) -> None:
    """Prints an error in lines that fit; a path or an address is never broken."""
    console = err()
    first, *rest = lines or ("",)
    console.print(f"[red]error:[/] {plain(_folded(first, indent='  ', before=len('error: ')))}")
    for line in rest:
        indent = len(line) - len(line.lstrip())
        console.print(plain(_folded(line, " " * (indent + 2))))


def print_text(text: str) -> None:
    """Prints a sentence in lines that fit."""
    out().print(plain(_folded(text, indent="  ")))


def _folded(text: str, indent: str, before: int = 0) -> str:
    """Folds the text into lines that fit, of whose first one `before` columns are taken."""
    return textwrap.fill(
        one_line(text),
        min(WIDTH, _room(out())),
        initial_indent=" " * before,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )[before:]


def table(*columns: str) -> Table:
    """Returns a table without a frame.

    Columns whose name begins with `>` are set to the right. Where the table would be too wide, those that begin with
    `|` are folded onto further lines and those that begin with `~` are shortened, `~~` after all others.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        made.add_column(
            name.lstrip(">~|"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=not name.startswith("|"),
            overflow="ellipsis" if name.startswith("~") else "fold",
            ratio=2 if name.startswith("~~") else 1,
        )
    return made


def print_table(made: Table) -> None:
    """Prints the table within the width of the terminal, or within WIDTH columns where there is none.

    A column that is empty in every row is left out. Texts are shortened first; what is then still too wide is printed
    in parts one below the other, each with the first column. Ids and numbers are never cut.
    """
    console = out()
    width = _room(console)
    made = _of_columns(made, [index for index, column in enumerate(made.columns) if not made.rows or any(column.cells)])
    _shorten(made, width, console)
    for part in _parts(made, width, console):
        Console(highlight=False, emoji=False, width=max(_width(part, console), 1)).print(part, crop=False)


def _room(console: Console) -> int:
    return max(console.width, _NARROWEST) if console.is_terminal else WIDTH


def _width(made: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=10_000), made).maximum


def _shorten(made: Table, width: int, console: Console) -> None:
    over = _width(made, console) - width
    for order in (1, 2):
        widths = {
            index: max(Text.from_markup(str(text)).cell_len for text in (column.header, *column.cells))
            for index, column in enumerate(made.columns)
            if (column.overflow == "ellipsis" or not column.no_wrap) and column.ratio == order
        }
        while over > 0 and (widest := max(widths, key=lambda index: widths[index], default=None)) is not None:
            next_widest = max((size for index, size in widths.items() if index != widest), default=0)
            target = max(_SHORTEST, widths[widest] - over, next_widest - 1)
            if target >= widths[widest]:
                break
            over -= widths[widest] - target
            widths[widest] = made.columns[widest].max_width = target


def _parts(made: Table, width: int, console: Console) -> list[Table]:
    if _width(made, console) <= width or len(made.columns) < 3:
        return [made]
    first, *others = range(len(made.columns))
    parts: list[Table] = []
    chosen = [first]
    for index in others:
        if len(chosen) > 1 and _width(_of_columns(made, [*chosen, index]), console) > width:
            parts.append(_of_columns(made, chosen))
            chosen = [first]
        chosen.append(index)
    return [*parts, _of_columns(made, chosen)]


def _of_columns(made: Table, chosen: list[int]) -> Table:
    rows = [[str(cell) for cell in row] for row in zip(*(column.cells for column in made.columns), strict=True)]
    part = Table(box=made.box, pad_edge=False, padding=made.padding)
    for index in chosen:
        column = made.columns[index]
        part.add_column(
            column.header,
            justify=column.justify,
            no_wrap=column.no_wrap,
            overflow=column.overflow,
            max_width=column.max_width,
            ratio=column.ratio,
        )
    for row, whole in zip(rows, made.rows, strict=True):
        part.add_row(*(row[index] for index in chosen), end_section=whole.end_section)
    return part


def shown_state(state: str) -> str:
    """Returns the state in its colour."""
    return f"[{_STYLES[State(state)]}]{state}[/]"


def ago(at: datetime | None) -> str:
    """Says how long ago, in one unit."""
    return age(at) + " ago" if at else ""


def age(at: datetime) -> str:
    """Returns the time since then, in one unit."""
    return duration((datetime.now(UTC) - at).total_seconds())


def duration(seconds: float) -> str:
    """Writes a time as `43 s`, `12 min`, `3.4 h` or `5 days`; none where a clock was set back meanwhile."""
    seconds = max(0.0, seconds)
    for limit, unit, shape in ((120, 1, "{:.0f} s"), (7200, 60, "{:.0f} min"), (172800, 3600, "{:.1f} h")):
        if seconds < limit:
            return shape.format(seconds / unit)
    return f"{seconds / 86400:.0f} days"


def plain(text: object) -> str:
    """Returns text that Rich prints as it is, without the control characters that would redraw a terminal."""
    return escape("".join(char for char in str(text) if char.isprintable() or char == "\n"))


def one_line(text: object) -> str:
    """Returns the text with a blank for each of its line breaks."""
    return re.sub(r"[\r\n\t\v\f\u2028\u2029]+", " ", str(text))


def cell(text: object) -> str:
    """Returns text of one line, for a table."""
    return plain(one_line(text))


def settle_streams() -> None:
    """Lets letters that the terminal's encoding lacks be printed as escapes, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")
