"""A bar until a suite or a study has ended."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.client.cli.output import duration, out, plain, print_text

_LOOK_S = 1.0
_TELL_CHANGE_S = 10.0
_TELL_EVERY_S = 30.0
T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """Progress as the bar shows it."""

    done: int
    total: int
    beside: str
    """What stands beside the numbers; empty for nothing."""
    timed: bool = False
    """Whether `beside` says how long still."""


class Clock(Protocol):
    """The time, and waiting for it to pass."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


def wait_with_bar(
    found: T,
    look: Callable[[], T],
    waits: Callable[[T], bool],
    standing: Callable[[T], Standing],
    under_way: Callable[[], str],
    *,
    unit: str,
    goes_on: str,
    clock: Clock = time,
) -> T:
    """Looks again until it waits no more, and returns it as it then is. `goes_on`: what Ctrl-C says, with exit 130.

    Where there is no terminal, a line is printed every ten seconds in which something ended, and every half a minute in
    any case: how many have ended, how long still, and what `under_way` says of the one that runs.
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
    begun, first = clock.monotonic(), standing(found).done
    printed_at, printed = -math.inf, -1
    try:
        with bars:
            now = standing(found)
            bar = bars.add_task(unit, total=now.total, completed=now.done, beside="")
            while waits(found):
                clock.sleep(_LOOK_S)
                found = look()
                now = standing(found)
                left = "" if now.timed else _left(now, first, clock.monotonic() - begun)
                beside = "; ".join(filter(None, (now.beside, left)))
                bars.update(bar, completed=now.done, total=now.total, beside=beside)
                quiet = clock.monotonic() - printed_at
                if bars.disable and quiet >= (_TELL_CHANGE_S if now.done != printed else _TELL_EVERY_S):
                    printed_at, printed = clock.monotonic(), now.done
                    told = (f"{now.done} of {now.total} {unit} ended", beside, under_way())
                    console.print(plain("; ".join(filter(None, told))))
    except KeyboardInterrupt:
        print_text(goes_on)
        raise typer.Exit(130) from None
    return found


def _left(now: Standing, first: int, seconds: float) -> str:
    """Says how long the rest takes at the rate of what has ended while one waited; nothing where nothing has."""
    if now.done <= first or now.done >= now.total:
        return ""
    return f"about {duration(seconds * (now.total - now.done) / (now.done - first))} left"
