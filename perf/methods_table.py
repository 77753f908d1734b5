"""The table of all methods, made from what the runs left: one line a method, one column a task and regularizer."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from pace_core.spec import load_benchmarks
from pace_core.spec.result import RESULTS_VERSION

BENCHMARK = "vtab-mini"


class Cell(BaseModel):
    """One run of the table, or why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: str
    regularizer: str
    task: str
    seed: int
    job: str | None = None
    accuracy: float | None = None
    """On the test images, a fraction."""
    parameters: int | None = None
    """Trained, without the head."""
    seconds: float | None = None
    results_version: int = RESULTS_VERSION
    """Of the code that measured it."""
    refused: str | None = None
    """Why the pair was not accepted."""
    failed: str | None = None
    """Why the job did not succeed."""


def markdown(cells: Sequence[Cell], epochs: int) -> str:
    """Accuracies in percent: mean over seeds, ± std where there are several; each job's id below the table."""
    regularizers = list(dict.fromkeys(cell.regularizer for cell in cells))
    tasks = [task.name for task in load_benchmarks()[BENCHMARK].tasks if any(cell.task == task.name for cell in cells)]
    of: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        of[cell.method, cell.regularizer, cell.task].append(cell)
    names = [f"{task}, {regularizer}" for task in tasks for regularizer in regularizers]
    seeds = len({cell.seed for cell in cells})
    older = dict.fromkeys(cell.method for cell in cells if cell.results_version < RESULTS_VERSION)
    stale = f"Measured before results version {RESULTS_VERSION}, which computes them otherwise: {', '.join(older)}."
    lines = [
        "# Every method, with and without PACE",
        "",
        f"Test accuracy in percent on {BENCHMARK} with the network that ships: {epochs} epochs where",
        f"`perf/methods.toml` says nothing else, {seeds} seed{'s' if seeds > 1 else ''}. Settings as there: not tuned,",
        "but for those of the recipe's own methods and PACE's sigma and lambda, chosen on validation images of three",
        "tasks. Made by `make methods` through the service; `python -m perf.methods --seeds 3 --tasks all` extends it.",
        "A difference between two lines of one seed says little: over seeds a cell moves by one to several points.",
        *([stale] if older else []),
        "",
        f"| method | trained | {' | '.join(names)} | " + " | ".join(f"mean, {name}" for name in regularizers) + " |",
        f"|---|{'---|' * (1 + len(names) + len(regularizers))}",
    ]
    for method in dict.fromkeys(cell.method for cell in cells):
        rows = {(task, name): of[method, name, task] for task in tasks for name in regularizers}
        sizes = [cell.parameters for found in rows.values() for cell in found if cell.parameters is not None]
        means = [_mean([rows[task, name] for task in tasks]) for name in regularizers]
        said = [_told(rows[task, name]) for task in tasks for name in regularizers]
        lines.append(f"| {method} | {max(sizes, default=0):,} | {' | '.join([*said, *means])} |")
    # without the list of methods that would do, which the service's answer ends with
    refused = dict.fromkeys((c.method, c.regularizer, c.refused.partition("; methods")[0]) for c in cells if c.refused)
    lines += ["", *(f"- {method} × {name}: refused, {why}" for method, name, why in refused)]
    failed = [cell for cell in cells if cell.failed]
    lines += [f"- {c.method} × {c.regularizer}, {c.task}, seed {c.seed}: failed, {c.failed} ({c.job})" for c in failed]
    lines += ["", "## Jobs", "", "| method | regularizer | task | seed | accuracy | job |", "|---|---|---|---|---|---|"]
    for c in cells:
        if c.accuracy is not None:
            lines.append(f"| {c.method} | {c.regularizer} | {c.task} | {c.seed} | {100 * c.accuracy:.1f} | {c.job} |")
    return "\n".join(lines) + "\n"


def _told(cells: Sequence[Cell]) -> str:
    if any(cell.refused for cell in cells):
        return "refused"
    found = [100 * cell.accuracy for cell in cells if cell.accuracy is not None]
    if not found:
        return "failed" if cells else "–"
    return f"{statistics.mean(found):.1f}" + (f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else "")


def _mean(by_task: Sequence[Sequence[Cell]]) -> str:
    """Of the tasks' means; nothing where one of them is missing."""
    found = [[100 * cell.accuracy for cell in cells if cell.accuracy is not None] for cells in by_task]
    return f"{statistics.mean(map(statistics.mean, found)):.1f}" if found and all(found) else "–"
