"""Runs `pace` in this process and keeps what it says."""

import io
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from service.client.cli import main


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """The error as one line, however it was folded."""
        return " ".join(self.err.split())


Pace = Callable[..., Awaitable[Said]]
LORA = ("submit", "--recipe", "vtab-mini", "--row", "LoRA_add", "--task", "digits")


async def submitted(pace: Pace, *arguments: str) -> str:
    """Submits a job, of the recipe where nothing else is asked for, and returns its id."""
    said = await pace(*(arguments or LORA))
    assert said.code == 0, said.err
    return said.out.split()[1]


def run(*arguments: object) -> Said:
    """One command; `main` is what the script `pace` calls."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["pace", *(str(argument) for argument in arguments)]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    return Said(code, out.getvalue(), err.getvalue())
