"""Every method of the catalogue, with and without PACE, as one suite; writes the table and its results.

    python -m perf.methods [--tasks digits,cells,location] [--seeds 1] [--methods ssf,bitfit]

Settings: `perf/methods.toml`. PACE's sigma and lambda: the recipe's. Runs that this service has done already are taken
as they are, so an interrupted table goes on where it stopped. With `--methods` the lines of all others stay.
"""

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from pace_core.spec import load_benchmarks, load_catalogue, merged, spec_of_recipe
from perf.methods_table import BENCHMARK, Cell, markdown
from service.client import Client, Job, SuiteRequest, SuiteRow, SuiteTable
from service.client.cli.output import out
from service.client.cli.suite import watch
from service.client.cli.suite_report import print_plan

FAMILY = "vit"
SETTINGS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "methods.toml").read_text("utf-8"))
RESULTS, TABLE = Path("docs/methods.json"), Path("docs/methods.md")
REGULARIZERS = ("none", "pace")


def row(method: str, regularizer: str) -> SuiteRow:
    """Returns a line of the table: the recipe's training, the method's own settings, PACE as the recipe has it."""
    pace = spec_of_recipe(BENCHMARK, "PACE", load_benchmarks()[BENCHMARK].tasks[0].name)["regularizer"]
    chosen = {"name": "none"} if regularizer == "none" else pace
    spec = merged({"method": {"name": method}, "regularizer": chosen}, SETTINGS.get(method, {}))
    return SuiteRow(label=label(method, regularizer), spec=spec)


def label(method: str, regularizer: str) -> str:
    """Returns the row's label."""
    return method if regularizer == "none" else f"{method} + {regularizer}"


def request(methods: list[str], tasks: list[str], seeds: int) -> SuiteRequest:
    """Returns the whole table as a suite."""
    return SuiteRequest(
        name="every method",
        benchmark=BENCHMARK,
        tasks=list(tasks),
        rows=[row(method, regularizer) for method in methods for regularizer in REGULARIZERS],
        seeds=list(range(seeds)),
        stop_after=None,
        priority=40,
    )


def cells_of(
    method: str, regularizer: str, task: str, seeds: int, table: SuiteTable, jobs: dict[str, Job]
) -> list[Cell]:
    """Returns what became of a row on a task, a cell a seed."""
    found = next(row for row in table.rows if row.label == label(method, regularizer)).cells[task]
    abouts = [Cell(method=method, regularizer=regularizer, task=task, seed=seed) for seed in range(seeds)]
    if found.status == "refused":
        why = "; ".join(found.notes).removeprefix("refused: ")
        return [about.model_copy(update={"refused": why}) for about in abouts]
    by_seed = {jobs[job].seed: jobs[job] for job in found.jobs}
    return [
        _cell(about, by_seed[about.seed])
        if about.seed in by_seed
        else about.model_copy(update={"failed": "; ".join(found.notes)})
        for about in abouts
    ]


def _cell(about: Cell, job: Job) -> Cell:
    if job.result is None:
        return about.model_copy(update={"job": job.id, "failed": f"{job.reason}: {job.message}"})
    found: dict[str, Any] = {
        "job": job.id,
        "accuracy": job.result.value("test"),
        "parameters": job.result.adapter_parameters,
        "seconds": round(job.result.seconds, 1),
        "results_version": job.result.provenance.results_version,
    }
    return about.model_copy(update=found)


def others(methods: list[str]) -> list[Cell]:
    """Returns the committed cells of all methods but these."""
    committed = json.loads(RESULTS.read_text("utf-8"))["cells"] if RESULTS.exists() else []
    return [cell for raw in committed if (cell := Cell.model_validate(raw)).method not in methods]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", default="digits,cells,location", help="one of each group, or `all`")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    known = [name for name, entry in load_catalogue().methods.items() if FAMILY in entry.fits and ":" not in name]
    parser.add_argument("--methods", type=lambda text: text.split(","), default=known)
    asked = parser.parse_args()
    there = [task.name for task in load_benchmarks()[BENCHMARK].tasks]
    names = there if asked.tasks == "all" else [name for name in there if name in asked.tasks.split(",")]
    methods = sorted(asked.methods)
    with Client() as client:
        suite_request = request(methods, names, asked.seeds)
        print_plan(client.suites.check(suite_request))
        suite = watch(client, client.suites.submit(suite_request))
        table = client.suites.table(suite.id)
        jobs = {job.id: job for job in client.jobs.list(None, suite=suite.id)}
    done = [
        cell
        for method in methods
        for regularizer in REGULARIZERS
        for task in names
        for cell in cells_of(method, regularizer, task, asked.seeds, table, jobs)
    ]
    done = sorted([*others(methods), *done], key=lambda cell: cell.method)
    epochs = spec_of_recipe(BENCHMARK, "LoRA_add", names[0])["training"]["epochs"]
    said = {"epochs": epochs, "cells": [cell.model_dump(exclude_none=True) for cell in done]}
    RESULTS.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    TABLE.write_text(markdown(done, epochs), "utf-8")
    out().print(f"wrote {TABLE} and {RESULTS}: {sum(cell.accuracy is not None for cell in done)} runs")


if __name__ == "__main__":
    main()
