"""PACE against the same method without it, on all of vtab-mini over three seeds, over a running service.

One (sigma, lambda) for the whole benchmark, chosen from six pairs on the 200 validation images alone; then both rows
train on all 1,000 images and are tested once. Jobs that have run already are taken as they are, so that an interrupted
comparison goes on where it stopped.

    python -m perf.compare [--out comparison.json]
"""

import argparse
import asyncio
import json
import statistics
from collections import defaultdict
from pathlib import Path

from rich.table import Table

from pace_core.spec import load_benchmarks
from perf.rows import RECIPE, console, failures, request, run_all, task_names, whole_numbers
from service.client import AsyncClient, Job

PAIRS = [(0.1, 0.02), (0.1, 0.1), (0.5, 0.02), (0.5, 0.1), (1.0, 0.02), (1.0, 0.1)]
PACE, WITHOUT = "PACE", "LoRA_mul+VPT_add"
BENCHMARK = load_benchmarks()[RECIPE]
TASKS = [task.name for task in BENCHMARK.tasks]


def group_mean(by_task: dict[str, float]) -> float:
    """The mean of group means over the tasks given, as the benchmark takes it."""
    groups: dict[str, list[float]] = defaultdict(list)
    for task in BENCHMARK.tasks:
        if task.name in by_task:
            groups[task.group].append(by_task[task.name])
    return statistics.mean(statistics.mean(values) for values in groups.values())


async def search(
    client: AsyncClient, tasks: list[str], seed: int
) -> tuple[dict[tuple[float, float], float], list[Job]]:
    """Mean validation accuracy of every pair; nothing is tested."""
    cells = [(pair, task) for pair in PAIRS for task in tasks]
    jobs = await run_all(
        client,
        [
            request(PACE, task, seed, {"task": {"phase": "search"}, "regularizer": {"sigma": sigma, "lambda": weight}})
            for (sigma, weight), task in cells
        ],
        reuse=True,
    )
    if failures(jobs):
        raise SystemExit("a search job failed; see above, then run this again: what succeeded is kept")
    found: dict[tuple[float, float], dict[str, float]] = defaultdict(dict)
    for (pair, task), job in zip(cells, jobs, strict=True):
        assert job.result is not None
        found[pair][task] = job.result.value("val") or 0.0
    return {pair: group_mean(by_task) for pair, by_task in found.items()}, jobs


async def final(client: AsyncClient, pair: tuple[float, float], seeds: list[int]) -> dict[str, dict[str, list[Job]]]:
    """Row → task → one tested job a seed."""
    over = {WITHOUT: {}, PACE: {"regularizer": {"sigma": pair[0], "lambda": pair[1]}}}
    cells = [(row, task, seed) for seed in seeds for task in TASKS for row in (WITHOUT, PACE)]
    jobs = await run_all(client, [request(row, task, seed, over[row]) for row, task, seed in cells], reuse=True)
    if failures(jobs):
        raise SystemExit("a job failed; see above, then run this again: what succeeded is kept")
    found: dict[str, dict[str, list[Job]]] = {WITHOUT: defaultdict(list), PACE: defaultdict(list)}
    for (row, task, _), job in zip(cells, jobs, strict=True):
        found[row][task].append(job)
    return found


def accuracies(jobs: list[Job]) -> list[float]:
    """Test accuracies in percent, one a job."""
    return [100 * (job.result.value("test") or 0.0) for job in jobs if job.result]


def show(found: dict[str, dict[str, list[Job]]]) -> None:
    """Both rows and their difference by task, paired by seed."""
    table = Table("task", WITHOUT, PACE, "difference (paired by seed)", title="test accuracy in percent, mean ± std")
    seeds = len(found[PACE][TASKS[0]])
    for task in TASKS:
        without, pace = accuracies(found[WITHOUT][task]), accuracies(found[PACE][task])
        table.add_row(task, *(_spread(values) for values in (without, pace, _differences(pace, without))))
    means = {
        row: [group_mean({task: accuracies(found[row][task])[i] for task in TASKS}) for i in range(seeds)]
        for row in found
    }
    table.add_section()
    difference = _spread(_differences(means[PACE], means[WITHOUT]))
    table.add_row("mean of group means", _spread(means[WITHOUT]), _spread(means[PACE]), difference)
    console.print(table)


def _differences(left: list[float], right: list[float]) -> list[float]:
    return [a - b for a, b in zip(left, right, strict=True)]


def _spread(values: list[float]) -> str:
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {std:.1f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    parser.add_argument("--search-tasks", type=task_names, default="all", help="tasks whose validation images choose")
    parser.add_argument("--out", type=Path, help="also write every job's id and accuracy here, as JSON")
    asked = parser.parse_args()
    async with AsyncClient() as client:
        by_pair, searched = await search(client, asked.search_tasks, seed=0)
        table = Table(
            "sigma", "lambda", "validation accuracy", title=f"validation, seed 0: {', '.join(asked.search_tasks)}"
        )
        for (sigma, weight), value in sorted(by_pair.items(), key=lambda item: -item[1]):
            table.add_row(f"{sigma:g}", f"{weight:g}", f"{100 * value:.2f}")
        console.print(table)
        best = max(by_pair, key=lambda pair: by_pair[pair])
        console.print(f"chosen on validation: sigma {best[0]:g}, lambda {best[1]:g}")
        found = await final(client, best, asked.seeds)
    show(found)
    if asked.out:
        tested = [job for by_task in found.values() for jobs in by_task.values() for job in jobs]
        said = [
            {
                "job": job.id,
                "row": job.row,
                "task": job.task,
                "phase": job.phase,
                "seed": job.seed,
                "regularizer": job.spec["regularizer"],
                "accuracy": job.result.value("test") or job.result.value("val"),
            }
            for job in (*searched, *tested)
            if job.result
        ]
        asked.out.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    asyncio.run(main())
