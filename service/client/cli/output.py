"""How commands speak: plain text without a terminal, colour and redrawing with one."""

from datetime import UTC, datetime

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from pace_core.spec.lifecycle import State

_STYLES = {
    State.QUEUED: "yellow",
    State.STARTING: "cyan",
    State.RUNNING: "cyan",
    State.PAUSED: "magenta",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "dim",
}


def out() -> Console:
    """Where results go; lines are left whole, so that they can be searched and piped."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Where errors go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def failed(message: str) -> typer.Exit:
    """What a command raises to end with an error, which is told here."""
    err().print(f"[red]error:[/] {plain(message)}")
    return typer.Exit(1)


def table(*columns: str) -> Table:
    """An open table; columns whose name begins with `>` are set to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    return made


def print_table(made: Table) -> None:
    """Prints every cell whole, whatever the terminal's width: a cut id or number is of no use."""
    console = out()
    natural = Measurement.get(console, console.options.update(max_width=10_000), made).maximum
    Console(highlight=False, width=max(natural, 1)).print(made, crop=False)


def shown_state(state: State) -> str:
    """The state in its colour."""
    return f"[{_STYLES[state]}]{state}[/]"


def ago(at: datetime | None) -> str:
    """How long ago, in one unit."""
    return duration((datetime.now(UTC) - at).total_seconds()) + " ago" if at else ""


def duration(seconds: float) -> str:
    """`43 s`, `12 min`, `3.4 h`, `5 days`."""
    for limit, unit, form in ((120, 1, "{:.0f} s"), (7200, 60, "{:.0f} min"), (172800, 3600, "{:.1f} h")):
        if seconds < limit:
            return form.format(seconds / unit)
    return f"{seconds / 86400:.0f} days"


def plain(text: object) -> str:
    """Text that Rich prints as it is."""
    return escape(str(text))
