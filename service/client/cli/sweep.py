"""`pace sweep`: every combination of a few values, over seeds, as ordinary jobs."""

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pace_core.spec.recipes import merged
from pace_core.spec.spec_file import parse_yaml, read_spec_file
from pace_core.spec.validate import validate
from service.client import Client, Job, JobRequest
from service.client.cli.compare import print_comparison
from service.client.cli.inspection import inspected
from service.client.cli.output import cell, duration, failed, going_on, out, print_text
from service.client.cli.submit import chosen_recipe, pair, raw_spec
from service.client.cli.watch import watch_until_ended
from service.client.comparison import Phase, compare
from service.jobs.schemas import Validated

MOST = 1000
"""Jobs of one sweep."""


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(sweep)


def sweep(
    spec: Annotated[Path | None, typer.Argument(help="A spec, YAML or JSON; or name a --recipe.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Settings by name, with --row and --task.")] = None,
    row: Annotated[str | None, typer.Option(help="The recipe's row; with a spec, the label in tables.")] = None,
    task: Annotated[str | None, typer.Option(help="The recipe's task, such as digits.")] = None,
    set: Annotated[list[str], typer.Option(metavar="a.b=c,d,…", help="A field and the values it takes.")] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(metavar="0,1|0-4", help="Seeds of every combination.")] = "0",
    phase: Annotated[
        Phase, typer.Option(help="search measures on validation images, to choose by; final on the test images.")
    ] = "search",
    name: Annotated[str | None, typer.Option(help="Of the sweep, its jobs' tag; else the file's name.")] = None,
    priority: Annotated[int, typer.Option(min=0, max=100, help="Higher runs first.")] = 50,
    dry_run: Annotated[bool, typer.Option(help="Only count the jobs and the time they would take.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended; then print the table.")] = False,
) -> None:
    """Submit every combination of values: `pace sweep spec.yaml --set regularizer.sigma=0.1,0.5,1 --seeds 0,1`.

    Run again, it submits only what is neither done nor waiting nor running.
    """
    chosen = chosen_recipe(spec, recipe, row, task)
    raw = None if spec is None else read_spec_file(spec)
    named = (name or (spec.stem if spec else f"{recipe}-{row}-{task}")).strip()
    cells = _cells(_grid(set), seeds_of(seeds), phase)
    requests: list[JobRequest] = []
    for each in cells:
        validate(raw_spec(raw, chosen, each.overrides) | {"seed": each.seed})  # a fault is told without a service
        requests.append(
            JobRequest(
                spec=raw,
                recipe=chosen,
                overrides=each.overrides,
                seed=each.seed,
                row=row,
                tags={"sweep": named},
                priority=priority,
            )
        )
    with Client() as client:
        planned = [_plan(client, asked, each) for asked, each in zip(requests, cells, strict=True)]
        earlier = _earlier(client, planned)
        found = inspected(client, planned[0].check.spec) if dry_run else None
        _say(planned, earlier, dry_run, found.data.images.get("train") if found else None)
        if phase == "search":
            print_text(
                "phase search: measured on validation images, so that the test images stay unseen while you choose; "
                "test the winner once, by `pace submit` with --set task.phase=final"
            )
        if dry_run:
            return
        with going_on("what is submitted goes on; the same command submits the rest"):
            jobs = [earlier.get(index) or client.jobs.submit(one.request) for index, one in enumerate(planned)]
        table = f"pace compare {planned[0].check.spec['task']['name']} --phase {phase} --tag 'sweep={named}'"
        if not wait:
            out().print(f"  {cell(table)}    the table, as it fills\n  pace watch    progress")
            return
        with going_on(f"the jobs go on. {table} is their table; the same command waits for them again"):
            ended = asyncio.run(watch_until_ended([job.id for job in jobs]))
        if any(job.state == "succeeded" for job in ended):
            print_comparison(compare(ended, phase=phase))
    if bad := sum(job.state != "succeeded" for job in ended):
        raise failed(f"{bad} of {len(ended)} jobs did not succeed; the same command submits them again")


@dataclass(frozen=True)
class _Cell:
    """One job of the sweep: what differs from the spec."""

    overrides: dict[str, Any]
    seed: int
    said: dict[str, str]
    """The varied fields and how the row's label shows their values."""


@dataclass(frozen=True)
class _Planned:
    request: JobRequest
    check: Validated


def _cells(grid: dict[str, list[Any]], seeds: list[int], phase: Phase) -> list[_Cell]:
    varied = [path for path, values in grid.items() if len(values) > 1]
    last = [path.rpartition(".")[2] for path in varied]
    names = {path: short if last.count(short) == 1 else path for path, short in zip(varied, last, strict=True)}
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if len(combinations) * len(seeds) > MOST:
        raise typer.BadParameter(f"{len(combinations) * len(seeds):,} jobs are more than {MOST:,}; give fewer values")
    found: list[_Cell] = []
    for values in combinations:
        overrides: dict[str, Any] = {}
        for path, value in values.items():
            overrides = merged(overrides, _nested(path, value))
        overrides = merged(overrides, {"task": {"phase": phase}})
        said = {path: _shown(path, names[path], values[path]) for path in varied}
        found += [_Cell(overrides, seed, said) for seed in seeds]
    return found


def _grid(texts: list[str]) -> dict[str, list[Any]]:
    """Returns field → values, as YAML reads them. Raises typer.BadParameter."""
    grid: dict[str, list[Any]] = {}
    for text in texts:
        path, values = pair(text, "--set")
        try:
            read = parse_yaml(f"[{values}]")
        except yaml.YAMLError as error:
            why = " ".join(str(error).split())
            raise typer.BadParameter(f"--set {text}: {values!r} are not values separated by commas ({why})") from error
        if not read:
            raise typer.BadParameter(f"--set {text}: has no value; write it as {path}=0.1,0.5")
        if path in grid:
            raise typer.BadParameter(f"--set {path} is given twice; put all its values into one")
        if path in _OPTIONS:
            raise typer.BadParameter(f"--set {path}: has an option of its own, such as {_OPTIONS[path]}")
        grid[path] = [value for index, value in enumerate(read) if value not in read[:index]]
    return grid


_OPTIONS = {"seed": "--seeds 0,1,2", "task.phase": "--phase final"}


def seeds_of(text: str) -> list[int]:
    """Reads `0,1,2` or `0-4`, or both. Raises typer.BadParameter."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise typer.BadParameter(f"--seeds {text}: must be whole numbers, such as 0,1,2 or 0-4")
        if dash and not 0 <= int(last) - int(first) < MOST:
            raise typer.BadParameter(f"--seeds {text}: {part.strip()} is not a range of at most {MOST:,} seeds")
        found += range(int(first), int(last if dash else first) + 1)
    return list(dict.fromkeys(found))


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _shown(path: str, name: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if _is_name(path) else f"{name}={text}"


def _is_name(path: str) -> bool:
    return path in ("method.name", "regularizer.name")


def _plan(client: Client, asked: JobRequest, each: _Cell) -> _Planned:
    check = client.jobs.check(asked)
    named = asked.row is None and asked.recipe is None  # the label is made of the names of method and regularizer
    label = ", ".join([check.row, *(text for path, text in each.said.items() if not (named and _is_name(path)))])
    label = label if len(label) <= 200 else f"{label[:199]}…"
    return _Planned(asked.model_copy(update={"row": label}), check)


def _earlier(client: Client, planned: list[_Planned]) -> dict[int, Job]:
    """Returns index → a job with the same label and resolved spec that is done, or will be."""
    states = ["queued", "starting", "running", "paused", "succeeded"]
    task = planned[0].check.spec["task"]["name"]
    known = list(client.jobs.list(None, state=states, task=task))
    found: dict[int, Job] = {}
    for index, one in enumerate(planned):
        same = [job for job in known if job.row == one.request.row and job.spec == one.check.spec]
        if same:
            found[index] = same[0]
    return found


def _say(planned: list[_Planned], earlier: dict[int, Job], dry_run: bool, images: int | None) -> None:
    combinations = len({one.request.row for one in planned})
    seeds = len({one.request.seed for one in planned})
    new = [one for index, one in enumerate(planned) if index not in earlier]
    count = f"{combinations} combination{'s' if combinations > 1 else ''} × {seeds} seed{'s' if seeds > 1 else ''}"
    there = f", of which {len(earlier)} are done, waiting or running already" if earlier else ""
    out().print(f"{len(planned)} jobs ({count}){there}; {'would submit' if dry_run else 'submitting'} {len(new)}")
    known = [value for value in (_seconds(one.check) for one in new) if value is not None]
    if known and len(known) == len(new):
        seconds = sum(known) * (1 if images is None else images / 1000)
        print_text(f"about {duration(seconds)} on one CPU slot{' for each 1,000 images' if images is None else ''}")
    for one in planned if dry_run else []:
        out().print(f"  {cell(one.request.row)} / seed {one.request.seed}", highlight=False)


def _seconds(check: Validated) -> float | None:
    """Returns the seconds of one job for each 1,000 training images."""
    an_epoch = check.estimate.cpu_seconds_per_1000_images
    return None if an_epoch is None else an_epoch * check.estimate.epochs
