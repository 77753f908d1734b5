"""Kills, stops and misleads the parts of a stack at random moments while jobs run; nothing may be lost.

    python -m tests.chaos --seeds 20

One stack is started as by `pace up`. Each seed draws its own faults and moments; the same seed draws the same ones
again. After each seed the table in `docs/reliability.md` is written anew. Ends with 1 where an invariant is broken.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from stamina.instrumentation import set_on_retry_hooks

from tests.chaos.ground import spec, started
from tests.chaos.seed import Outcome, run_seed, undisturbed
from tests.chaos.table import kept, write

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def main() -> int:
    """Runs the seeds."""
    given = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    given.add_argument("--seeds", type=int, default=20, help="how many")
    given.add_argument("--first", type=int, default=1, help="the first of them")
    given.add_argument("--jobs", type=int, default=200, help="of each seed")
    given.add_argument("--faults", type=int, default=10, help="of each seed")
    given.add_argument("--into", type=Path, default=PAGE, help="page with the table")
    given.add_argument(
        "--outcomes", type=Path, help="file that keeps them, one a line: the table has all that are there"
    )
    arguments = given.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the stack is ended then too
    set_on_retry_hooks(())  # the clients' retries are what is meant to happen
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="pace-chaos-") as place, started(Path(place)) as (stack, ground):
        asked = spec(Path(place))
        print(f"faults: {', '.join(ground.kinds)}", flush=True)
        adapters = undisturbed(stack, asked)
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            outcomes.append(run_seed(stack, ground, asked, adapters, seed, arguments.jobs, arguments.faults))
            print(outcomes[-1].line, flush=True)
            write(arguments.into, kept(arguments.outcomes, outcomes), arguments.jobs)
    return 1 if any(outcome.trouble for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
