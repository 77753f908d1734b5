"""`pace submit`."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pace_core.spec.recipes import merged, spec_of_recipe
from pace_core.spec.run_spec import MEASURED
from pace_core.spec.spec_file import parse_yaml, read_spec_file, with_absolute_paths
from pace_core.spec.validate import validate
from service.client import Client, JobRequest, RecipeChoice
from service.client.cli.inspection import inspected, print_inspection, with_images
from service.client.cli.output import AsJson, cell, duration, going_on, out, plain, print_json, print_text


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(submit)


def submit(
    spec: Annotated[Path | None, typer.Argument(help="A spec, YAML or JSON; or name a --recipe.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Settings by name, with --row and --task.")] = None,
    row: Annotated[str | None, typer.Option(help="The recipe's row; with a spec, the label in tables.")] = None,
    task: Annotated[str | None, typer.Option(help="The recipe's task, such as digits.")] = None,
    set: Annotated[list[str], typer.Option(metavar="a.b=c", help="Set a field of the spec or recipe.")] = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    name: Annotated[str, typer.Option(help="A name for people, shown in lists.")] = "",
    tag: Annotated[list[str], typer.Option(metavar="key=value")] = [],  # noqa: B006
    priority: Annotated[int, typer.Option(min=0, max=100, help="Higher runs first.")] = 50,
    again: Annotated[bool, typer.Option("--again", help="Also where an equal job is done already.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only check; show the resolved spec.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job: `pace submit spec.yaml`, or `pace submit --recipe vtab-mini --row PACE --task digits`.

    task.phase says what is measured. final (the default): the test images,
    once, to report. search: validation images, to choose settings by; the test
    images stay closed. `--set task.phase=search` asks for it. Settings that are
    chosen by test results look better than they are.
    """
    overrides = parse_overrides(set)
    tags = dict(pair(text, "--tag") for text in tag)
    chosen = chosen_recipe(spec, recipe, row, task)
    raw = None if spec is None else read_spec_file(spec)
    # here as the API does it, so that a fault is told without a service
    asked = raw_spec(raw, chosen, overrides)
    validate(asked if seed is None else asked | {"seed": seed})
    request = JobRequest(
        spec=raw,
        recipe=chosen,
        row=None if chosen else row,
        overrides=overrides,
        seed=seed,
        name=name,
        tags=tags,
        priority=priority,
        reuse=not again,
    )
    with Client() as client:
        if dry_run:
            return _show_check(client, request, as_json)
        request = with_images(client, request, [asked])
        with going_on("stopped; `pace jobs` shows whether the job was submitted"):
            job = client.jobs.submit(request)
    if as_json:
        return print_json(job.model_dump(mode="json"))
    done = job.state.ended
    said = "[green]done already[/] by" if done else "[green]submitted[/]"
    out().print(f"{said} {job.id}  {cell(job.task)} / {cell(job.row)} / seed {job.seed}  ({job.state})")
    _show_notices(job.notices)
    if done:
        out().print(f"  nothing was queued; `--again` runs it once more, `pace show {job.id}` shows its result")
        return
    if job.waiting_for:
        out().print(f"  [yellow]waits[/] for {plain(job.waiting_for)}")
    for line in (
        f"pace logs -f {job.id}     what it says",
        f"pace watch {job.id}       its progress",
        f"pace show {job.id}        all about it",
        f"pace download {job.id}    the adapter, when it has succeeded",
    ):
        out().print(f"  {line}")


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """Turns `a.b=c` texts into part of a spec, with values as YAML reads them. Raises typer.BadParameter."""
    overrides: dict[str, Any] = {}
    for text in texts:
        path, value = pair(text, "--set")
        try:
            part: Any = parse_yaml(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--set {text}: {value!r} is no value ({' '.join(str(error).split())})") from error
        for key in reversed(path.split(".")):
            part = {key: part}
        overrides = merged(overrides, part)
    return overrides


def pair(text: str, option: str) -> tuple[str, str]:
    """Returns both sides of `key=value`. Raises typer.BadParameter."""
    key, sign, value = text.partition("=")
    if not (sign and key.strip()):
        raise typer.BadParameter(f"{option} {text}: must be key=value, such as {_EXAMPLES[option]}")
    return key.strip(), value.strip()


_EXAMPLES = {"--set": "method.rank=8", "--tag": "sheet=2", "--space": "optimizer.lr=0.001,0.01"}


def raw_spec(raw: dict[str, Any] | None, chosen: RecipeChoice | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """Returns what the file or the recipe says, with the overrides on top. Raises SpecError where a name is unknown."""
    if chosen:
        return spec_of_recipe(chosen.name, chosen.row, chosen.task, overrides)
    return with_absolute_paths(merged(raw or {}, overrides))


def chosen_recipe(spec: Path | None, recipe: str | None, row: str | None, task: str | None) -> RecipeChoice | None:
    """Returns the recipe that the options name; None where they name a file. Raises typer.BadParameter."""
    if recipe is None:
        if spec is None:
            raise typer.BadParameter("name a file, or --recipe, --row and --task (`pace catalogue recipes` lists them)")
        if task is not None:
            raise typer.BadParameter("--task goes with --recipe; set the task of a spec with --set task.name=…")
        return None
    if spec is not None:
        raise typer.BadParameter("give a file or --recipe, not both; --set changes single fields")
    if row is None or task is None:
        raise typer.BadParameter("--recipe needs --row and --task (`pace catalogue recipes` lists them)")
    return RecipeChoice(name=recipe, row=row, task=task)


def _show_check(client: Client, request: JobRequest, as_json: bool) -> None:
    check = client.jobs.check(request)
    found = inspected(client, check.spec)
    if as_json:
        data = found.model_dump(mode="json") if found else None
        return print_json({**check.model_dump(mode="json"), "inspection": data})
    out().print(plain(yaml.safe_dump(check.spec, sort_keys=False)))
    if found:
        print_inspection(found)
    print_text(MEASURED[check.spec["task"]["phase"]])
    said = check.estimate
    images = found.data.images.get("train") if found else None
    if said.cpu_seconds_per_1000_images is not None and images is not None:
        out().print(f"time about {duration(said.cpu_seconds_per_1000_images * images / 1000 * said.epochs)} on a CPU")
    elif said.cpu_seconds_per_1000_images is not None:
        out().print(f"an epoch of 1,000 images about {duration(said.cpu_seconds_per_1000_images)} on a CPU")
    memory = found.memory_bytes if found else said.memory_bytes  # the service does not know how many images there are
    if memory is not None:
        out().print(f"memory about {memory / 2**30:.1f} GiB")
    if said.epochs != check.spec["training"]["epochs"]:
        out().print(f"all stages together about {said.epochs:.0f} epochs")
    _show_notices(check.notices)
    if check.done:
        out().print(f"done already by {check.done}: nothing would be queued without `--again`")
    elif check.waiting_for:
        out().print(f"[yellow]would wait[/] for {plain(check.waiting_for)}")


def _show_notices(notices: list[str]) -> None:
    for notice in notices:
        out().print(f"  [yellow]note[/] {plain(notice)}")
