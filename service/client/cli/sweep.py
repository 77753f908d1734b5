"""`pace sweep`: every combination of a few values, searched on validation images, and the best of them tested."""

import itertools
import math
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pace_core.spec.recipes import merged
from pace_core.spec.spec_file import parse_yaml, read_spec_file
from pace_core.spec.validate import validate
from service.client import StudyRequest
from service.client.cli.output import AsOneJson
from service.client.cli.seeds import seeds_of
from service.client.cli.study import to_the_table
from service.client.cli.submit import chosen_recipe, pair, raw_spec
from service.client.cli.suite import parsed

MOST = 1000
"""Combinations of one sweep."""


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(sweep)


def sweep(
    spec: Annotated[Path | None, typer.Argument(help="A spec, YAML or JSON; or name a --recipe.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Settings by name, with --row and --task.")] = None,
    row: Annotated[str | None, typer.Option(help="The recipe's row; with a spec, the label in tables.")] = None,
    task: Annotated[str | None, typer.Option(help="The recipe's task, such as digits.")] = None,
    set: Annotated[list[str], typer.Option(metavar="a.b=c,d,…", help="A field and the values it takes.")] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(metavar="0,1|0-4", help="Of the final runs of the best.")] = "0,1,2",
    name: Annotated[str | None, typer.Option(help="For people; else the file's name.")] = None,
    priority: Annotated[int, typer.Option(min=0, max=100, help="Higher runs first.")] = 50,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan and what it takes.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the table.")] = False,
    as_json: AsOneJson = False,
) -> None:
    """Search every combination of values, then test the best once a seed.

    `pace sweep photos.yaml --set regularizer.sigma=0.1,0.5,1 --seeds 0,1` is a study: its trials see the validation
    images alone, and its best trains on all but the test images. Without values, the paper's grid of lambda and sigma.
    """
    chosen = chosen_recipe(spec, recipe, row, task)
    raw = None if spec is None else read_spec_file(spec)
    grid = _grid(set)
    if math.prod(len(values) for values in grid.values()) > MOST:
        count = math.prod(len(values) for values in grid.values())
        raise typer.BadParameter(f"{count:,} combinations are more than {MOST:,}; give fewer values, or `pace study`")
    fixed: dict[str, Any] = {}
    for path, values in grid.items():
        fixed = merged(fixed, _nested(path, values[0])) if len(values) == 1 else fixed
    varied = {path: values for path, values in grid.items() if len(values) > 1}
    for values in itertools.product(*varied.values()):  # a fault is told without a service
        each = fixed
        for path, value in zip(varied, values, strict=True):
            each = merged(each, _nested(path, value))
        validate(raw_spec(raw, chosen, each))
    request: dict[str, Any] = {
        "name": (name or (spec.stem if spec else f"{recipe}-{row}-{task}")).strip(),
        "spec": raw,
        "recipe": chosen.model_dump() if chosen else None,
        "row": row if chosen is None else None,
        "overrides": fixed,
        "space": {path: {"choice": values} for path, values in varied.items()},
        "seeds": seeds_of(seeds),
        "priority": priority,
    }
    to_the_table(parsed(StudyRequest, request), dry_run=dry_run, detach=detach, as_json=as_json)


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
        if path in _FORBIDDEN:
            raise typer.BadParameter(f"--set {path}: {_FORBIDDEN[path]}")
        grid[path] = [value for index, value in enumerate(read) if value not in read[:index]]
    return grid


_FORBIDDEN = {
    "seed": "the seeds of the final runs are --seeds 0,1,2",
    "task.phase": "a sweep searches on validation images and tests its best; `pace suite submit` tests several rows",
}


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value
