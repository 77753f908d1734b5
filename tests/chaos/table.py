"""The tables of `docs/reliability.md`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.chaos.seed import Outcome

BEGIN, END = "<!-- printed by `make chaos` -->", "<!-- end -->"


def kept(file: Path | None, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Adds the newest outcome to the file; returns all in it, the newest one of each seed, in their order.

    So seeds can be run by several processes, each with a stack of its own, or one after a break.
    """
    if file is None:
        return list(outcomes)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(outcomes[-1])) + "\n")
    found = [Outcome(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]
    return sorted({outcome.seed: outcome for outcome in found}.values(), key=lambda outcome: outcome.seed)


def write(page: Path, outcomes: Sequence[Outcome], jobs: int) -> None:
    """Replaces what stands between the two marks of the page."""
    text = page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{tables(outcomes, jobs)}\n{END}{after}", "utf-8")


def tables(outcomes: Sequence[Outcome], jobs: int) -> str:
    """Returns the faults with how often each was made and what broke, then the seeds."""
    whole = sum(not outcome.trouble for outcome in outcomes)
    lines = [
        f"{len(outcomes)} seeds of {jobs} jobs each; in {whole} of them nothing was broken.",
        "",
        "| Fault | Times | Seeds | of these, nothing broken |",
        "|---|---|---|---|",
    ]
    for kind in sorted({kind for outcome in outcomes for kind in outcome.faults}):
        having = [outcome for outcome in outcomes if kind in outcome.faults]
        times = sum(outcome.faults.count(kind) for outcome in having)
        lines.append(f"| {kind} | {times} | {len(having)} | {sum(not outcome.trouble for outcome in having)} |")
    lines += [
        "",
        "| Seed | Faults, in their order | Jobs | of these, retried for want of room | Attempts | Events | Seconds "
        "| Broken |",
        "|---|---|---|---|---|---|---|---|",
        *(outcome.line for outcome in outcomes),
        "",
    ]
    return "\n".join(lines)
