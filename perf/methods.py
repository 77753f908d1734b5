"""Every method of the catalogue, with and without PACE, over a running service; writes the table and its results.

    python -m perf.methods [--tasks digits,cells,location] [--seeds 1] [--methods ssf,bitfit]

Settings: `perf/methods.toml`. PACE's sigma and lambda: the recipe's. Runs that this service has done already are taken
as they are, so an interrupted table goes on where it stopped. With `--methods` the lines of all others stay.
"""

import argparse
import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

from pace_core.spec import load_benchmarks, load_catalogue, merged, spec_of_recipe
from perf.methods_table import BENCHMARK, Cell, markdown
from perf.rows import console, run_all, task_names
from service.client import AsyncClient, Job, JobRequest, ProblemError

FAMILY = "vit"
SETTINGS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "methods.toml").read_text("utf-8"))
RESULTS, TABLE = Path("docs/methods.json"), Path("docs/methods.md")


def regularizers(task: str) -> dict[str, dict[str, Any]]:
    """The two of the table: none, and PACE as the recipe has it."""
    return {"none": {"name": "none"}, "pace": spec_of_recipe(BENCHMARK, "PACE", task)["regularizer"]}


def request(method: str, regularizer: str, task: str, seed: int) -> JobRequest:
    """One cell: the recipe's training, the method's own settings."""
    spec = spec_of_recipe(BENCHMARK, "LoRA_add", task) | {
        "method": {"name": method},
        "regularizer": regularizers(task)[regularizer],
    }
    row = method if regularizer == "none" else f"{method} + {regularizer}"
    return JobRequest(spec=merged(spec, SETTINGS.get(method, {})), seed=seed, row=row, priority=40)


async def refusal(client: AsyncClient, asked: JobRequest) -> str | None:
    """Why the service would not take it."""
    try:
        await client.jobs.check(asked)
    except ProblemError as problem:
        return "; ".join(fault.message for fault in problem.faults) or problem.detail
    return None


def cell_of(about: Cell, job: Job) -> Cell:
    """What the job came to."""
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
    """The committed cells of all methods but these."""
    committed = json.loads(RESULTS.read_text("utf-8"))["cells"] if RESULTS.exists() else []
    return [cell for raw in committed if (cell := Cell.model_validate(raw)).method not in methods]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=task_names, default="digits,cells,location", help="one of each group, or `all`")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    known = [name for name, entry in load_catalogue().methods.items() if FAMILY in entry.fits and ":" not in name]
    parser.add_argument("--methods", type=lambda text: text.split(","), default=known)
    asked = parser.parse_args()
    names = [task.name for task in load_benchmarks()[BENCHMARK].tasks if task.name in asked.tasks]
    cells = [
        Cell(method=method, regularizer=regularizer, task=task, seed=seed)
        for method in sorted(asked.methods)
        for regularizer in ("none", "pace")
        for task in names
        for seed in range(asked.seeds)
    ]
    async with AsyncClient() as client:
        requests = [request(cell.method, cell.regularizer, cell.task, cell.seed) for cell in cells]
        refusals = [await refusal(client, one) for one in requests]
        jobs = iter(await run_all(client, [r for r, why in zip(requests, refusals, strict=True) if not why], True))
    done = [
        cell.model_copy(update={"refused": why}) if why else cell_of(cell, next(jobs))
        for cell, why in zip(cells, refusals, strict=True)
    ]
    done = sorted([*others(asked.methods), *done], key=lambda cell: cell.method)
    epochs = spec_of_recipe(BENCHMARK, "LoRA_add", names[0])["training"]["epochs"]
    said = {"epochs": epochs, "cells": [cell.model_dump(exclude_none=True) for cell in done]}
    RESULTS.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    TABLE.write_text(markdown(done, epochs), "utf-8")
    console.print(f"wrote {TABLE} and {RESULTS}: {sum(cell.accuracy is not None for cell in done)} runs")


if __name__ == "__main__":
    asyncio.run(main())
