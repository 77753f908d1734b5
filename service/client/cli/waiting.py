"""A bar until a suite or a study has ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.client.cli.output import out, print_text

_LOOK_S = 1.0
_TELL_EVERY_S = 10.0
T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """Progress as the bar shows it."""

    done: int
    total: int
    beside: str
    """What stands beside the numbers; empty for nothing."""


def wait_with_bar(
    found: T,
    look: Callable[[], T],
    waits: Callable[[T], bool],
    standing: Callable[[T], Standing],
    *,
    unit: str,
    goes_on: str,
) -> T:
    """Looks again until it waits no more, and returns it as it then is. `goes_on`: what Ctrl-C says, with exit 130.

    Where there is no terminal, a line is printed every ten seconds in which something got on.
    """
    console = out()
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[beside]}"),
        console=console,
        disable=not console.is_terminal,
    )
    printed_at, printed = 0.0, -1
    try:
        with bars:
            now = standing(found)
            bar = bars.add_task(unit, total=now.total, completed=now.done, beside="")
            while waits(found):
                time.sleep(_LOOK_S)
                found = look()
                now = standing(found)
                bars.update(bar, completed=now.done, total=now.total, beside=now.beside)
                if bars.disable and now.done != printed and time.monotonic() - printed_at > _TELL_EVERY_S:
                    printed_at, printed = time.monotonic(), now.done
                    console.print(f"{now.done} of {now.total} {unit} ended; {now.beside}".rstrip("; "))
    except KeyboardInterrupt:
        print_text(goes_on)
        raise typer.Exit(130) from None
    return found
