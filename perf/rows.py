"""Runs rows of vtab-mini over a running service and prints the table that came out.

python -m perf.rows --tasks digits,textures,location --seeds 0
"""

import argparse
import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pace_core.spec import load_benchmarks, load_recipes
from service.client import AsyncClient, Job, JobRequest, RecipeChoice
from service.client.cli.jobs import accuracy, standing
from service.client.cli.leaderboard import print_leaderboard
from service.client.cli.output import cell, duration

RECIPE = "vtab-mini"
TELL_EVERY_S = 10.0
console = Console(width=None if Console().is_terminal else 200, emoji=False)


def request(row: str, task: str, seed: int, overrides: dict[str, Any] | None = None, **fields: Any) -> JobRequest:
    """One cell of the table."""
    choice = RecipeChoice(name=RECIPE, row=row, task=task)
    return JobRequest(recipe=choice, seed=seed, overrides=overrides or {}, **fields)


async def run_all(client: AsyncClient, requests: Sequence[JobRequest], reuse: bool = False) -> list[Job]:
    """Submits them all and waits until they have ended; jobs in the order of the requests.

    reuse: take a succeeded job with the same resolved spec for the request's own.
    """
    jobs = [await _submit(client, asked, reuse) for asked in requests]
    begun, done = time.monotonic(), 0
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    async def ended(job: Job) -> Job:
        nonlocal done
        reused = job.state.ended
        job = job if reused else await client.jobs.wait(job.id)
        done += 1
        bars.advance(bar)
        console.print(f"{cell(f'{job.task:<22} {job.row:<18}')} seed {job.seed}  {_outcome(job)}", highlight=False)
        if not console.is_terminal and not reused:
            console.print(f"  {how_far(done, len(jobs), time.monotonic() - begun)}", highlight=False)
        return job

    with bars:
        bar = bars.add_task("jobs", total=len(jobs))
        telling = asyncio.create_task(_tell(client, {job.id for job in jobs}))
        try:
            return list(await asyncio.gather(*(ended(job) for job in jobs)))
        finally:
            telling.cancel()


def how_far(done: int, of: int, seconds: float) -> str:
    """How many jobs are done, and how long the others will take at that pace."""
    left = f", about {duration(seconds / done * (of - done))} left" if 0 < done < of else ""
    return f"{done} of {of} jobs done after {duration(seconds)}{left}"


async def _tell(client: AsyncClient, ids: set[str]) -> None:
    """Without a terminal, which has bars: a line now and then of each job that got on, so that nobody waits blindly."""
    told: set[str] = set()
    while not console.is_terminal:
        await asyncio.sleep(TELL_EVERY_S)
        async for job in client.jobs.list(state=["starting", "running"]):
            line = f"  {job.task} / {job.row} / seed {job.seed}: {job.state} {standing(job)}{_steps(job)}".rstrip()
            if job.id in ids and line not in told:
                console.print(cell(line), highlight=False)
                told.add(line)


def _steps(job: Job) -> str:
    return f", step {job.progress.step} of {job.progress.steps}" if job.progress and job.progress.steps else ""


def _outcome(job: Job) -> str:
    return f"{accuracy(job.result)}  {job.id}" if job.result else f"{job.state}: {cell(job.message)}  {job.id}"


async def _submit(client: AsyncClient, asked: JobRequest, reuse: bool) -> Job:
    if reuse:
        checked = await client.jobs.check(asked)
        filters = {"state": "succeeded", "task": checked.spec["task"]["name"], "row": checked.row}
        async for job in client.jobs.list(**filters):
            if job.spec == checked.spec:
                return job
    return await client.jobs.submit(asked)


def task_names(text: str) -> list[str]:
    """`all`, or names with commas between them."""
    return [task.name for task in load_benchmarks()[RECIPE].tasks] if text == "all" else text.split(",")


def row_names(text: str) -> list[str]:
    """`all`, or labels with commas between them."""
    return [row.label for row in load_recipes()[RECIPE].rows] if text == "all" else text.split(",")


def whole_numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(number) for number in text.split(",")]


def experiment_page(link: str) -> str:
    """The page of all runs of the experiment that a run's address in MLflow belongs to."""
    return re.sub(r"/runs/\w+", "", link)


def failures(jobs: Iterable[Job]) -> int:
    """How many did not succeed."""
    return sum(job.state != "succeeded" for job in jobs)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=task_names, default="all")
    parser.add_argument("--rows", type=row_names, default="all")
    parser.add_argument("--seeds", type=whole_numbers, default="0")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's; the table then says so")
    asked = parser.parse_args()
    over = {"training": {"epochs": asked.epochs, "warmup_epochs": asked.epochs / 10}} if asked.epochs else {}
    begun = time.monotonic()
    async with AsyncClient() as client:
        # the last rows are the dearest: begun first, they leave no slot idle at the end
        requests = [
            request(row, task, seed, over)
            for row in reversed(asked.rows)
            for seed in asked.seeds
            for task in asked.tasks
        ]
        console.print(
            f"{len(requests)} jobs: {len(asked.tasks)} tasks x {len(asked.rows)} rows x {len(asked.seeds)} seeds"
        )
        jobs = await run_all(client, requests)
        print_leaderboard(await client.leaderboard(RECIPE))
        for page in sorted({experiment_page(job.mlflow_url) for job in jobs if job.mlflow_url}):
            console.print(f"these runs in MLflow, to compare: {page}", highlight=False, soft_wrap=True)
    console.print(f"{len(jobs) - failures(jobs)} of {len(jobs)} jobs succeeded in {time.monotonic() - begun:.0f} s")
    return 1 if failures(jobs) else 0


if __name__ == "__main__":
    try:
        raise SystemExit(asyncio.run(main()))
    except KeyboardInterrupt:
        console.print("\nthe jobs go on: `pace watch` shows them, `pace down` stops the service")
        raise SystemExit(130) from None
