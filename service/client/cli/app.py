"""The commands, and what every one of them does with errors."""

import sys
from typing import Any

import typer
from pydantic import ValidationError
from stamina.instrumentation import set_on_retry_hooks
from typer.core import TyperGroup

from pace_core.spec.errors import SpecError
from service.client.address import NoService
from service.client.cli import (
    access,
    catalogue,
    compare,
    dataset,
    jobs,
    leaderboard,
    local,
    study,
    submit,
    suite,
    sweep,
    watch,
    workers,
)
from service.client.cli.output import going_on, print_error, settle_streams
from service.client.comparison import NothingToCompare
from service.client.jobs import DownloadError
from service.client.problems import ProblemError
from service.local.readiness import StackError


class _Stoppable(TyperGroup):
    """Commands that say so when Ctrl-C ends them."""

    def invoke(self, ctx: Any) -> Any:
        with going_on("stopped by Ctrl-C"):
            return super().invoke(ctx)


app = typer.Typer(
    name="pace",
    cls=_Stoppable,
    help="Fine-tune pretrained transformers on little data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    *(local, submit, sweep, suite, study, dataset, jobs),
    *(watch, compare, leaderboard, catalogue, access, workers),
):
    module.install(app)


def main() -> None:
    """Runs the command line; every error that a user can cause is a sentence on stderr and an exit code above zero."""
    settle_streams()
    set_on_retry_hooks([])  # a retry is no news; what it ends with is
    try:
        app()
    except SpecError as error:
        count = len(error.faults)
        _fail(f"the spec has {count} fault{'s' if count > 1 else ''}:", *(f"  {fault}" for fault in error.faults))
    except ValidationError as error:  # a request that the service would refuse with the same words
        _fail(*(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()))
    except (ProblemError, NoService, DownloadError, StackError, NothingToCompare) as error:
        _fail(*str(error).splitlines())
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(*lines: str) -> None:
    print_error(*lines)
    sys.exit(1)
