"""`pace study`: searches over a job's fields, which end with the table of their best."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
import yaml

from pace_core.spec.recipes import merged
from pace_core.spec.spec_file import parse_yaml, read_spec_file
from service.client import Client, StudyExtension, StudyRequest, StudyView
from service.client.cli import filters
from service.client.cli.inspection import with_images
from service.client.cli.jobs import standing
from service.client.cli.output import (
    AsCsv,
    AsJson,
    AsOneJson,
    Form,
    ago,
    cell,
    failed,
    form,
    json_is_of_one_answer,
    out,
    print_as,
    print_csv,
    print_json,
    print_table,
    shown_state,
    table,
)
from service.client.cli.plan_cost import submitted
from service.client.cli.seeds import seeds_of
from service.client.cli.study_report import print_study, print_study_plan, said
from service.client.cli.submit import chosen_recipe, pair, parse_overrides, raw_spec
from service.client.cli.suite import parsed
from service.client.cli.waiting import Standing, wait_with_bar
from service.studies.schemas import Rungs, Scheduler, Search

app = typer.Typer(help="Searches over a job's fields, by Ray Tune.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="STUDY", help="Such as study_01…; `pace study list` lists them.")]
_Space = Annotated[
    list[str],
    typer.Option(
        "--space",
        metavar="a.b=…",
        help="A field and its values: `0.1,0.5` for a choice, `loguniform(1e-4,1e-1)`, `uniform(0,1)` or `int(1,16)`.",
    ),
]


def install(pace: typer.Typer) -> None:
    """Adds the commands."""
    for command in (submit, show, pause, resume, cancel, retry, extend):
        app.command()(command)
    app.command("list")(list_)
    pace.add_typer(app, name="study")


def submit(
    file: Annotated[Path | None, typer.Argument(help="A study, or a spec, as YAML or JSON.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Settings by name, with --row and --task.")] = None,
    row: Annotated[str | None, typer.Option(help="The recipe's row; with a spec, the label in tables.")] = None,
    task: Annotated[str | None, typer.Option(help="The recipe's task, such as digits.")] = None,
    space: _Space = [],  # noqa: B006
    set: Annotated[list[str], typer.Option(metavar="a.b=c", help="A field of every trial.")] = [],  # noqa: B006
    search: Annotated[Search | None, typer.Option(help="grid, random, tpe or gp.")] = None,
    scheduler: Annotated[Scheduler | None, typer.Option(help="none, asha, hyperband or median.")] = None,
    rungs: Annotated[
        Rungs | None, typer.Option(help="schedules: each a whole one; one_run: looked at on its way.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many; a grid runs whole.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Trials at a time; else one a slot.")] = None,
    max_epochs: Annotated[int | None, typer.Option(min=1, help="Of all trials together.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Of slots, of all trials together.")] = None,
    metric: Annotated[str | None, typer.Option(help="Such as val/loss; else the task's own.")] = None,
    mode: Annotated[Literal["max", "min"] | None, typer.Option(help="Which of its values is the best.")] = None,
    learn: Annotated[bool, typer.Option("--learn", help="Try first what did best on other tasks.")] = False,
    seeds: Annotated[str, typer.Option(metavar="0,1|0-4", help="Of the final runs of the best.")] = "",
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan and what it takes.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: AsOneJson = False,
) -> None:
    """Search on validation images, then test the best: `pace study submit photos.yaml --space optimizer.lr=0.001,0.01`.

    Without a space, the paper's grid of lambda and sigma.
    """
    read: dict[str, Any] = dict(read_spec_file(file)) if file else {}
    raw: dict[str, Any] = read if "spec" in read or "recipe" in read else {"spec": read} if file else {}
    if "spec" in raw or recipe:
        chosen = chosen_recipe(file, recipe, row, task)
        raw |= {"recipe": chosen.model_dump()} if chosen else {}
    given: dict[str, Any] = {
        "space": space_of(space) or None,
        "overrides": parse_overrides(set) or None,
        "row": row if recipe is None else None,
        "search": search,
        "scheduler": scheduler,
        "trials": trials,
        "rungs": rungs,
        "concurrency": concurrency,
        "budget": budget_of(max_epochs, max_hours),
        "metric": metric,
        "mode": mode,
        "learn": learn or None,
        "seeds": seeds_of(seeds) if seeds else None,
        "name": name if name is not None or "name" in raw or file is None else file.stem,
    }
    request = parsed(StudyRequest, raw | {key: value for key, value in given.items() if value is not None})
    to_the_table(request, dry_run=dry_run, detach=detach, as_json=as_json)


def to_the_table(request: StudyRequest, *, dry_run: bool, detach: bool, as_json: bool = False) -> None:
    """Prints plan and time; unless it is a dry run, submits the study, waits, and prints what it found."""
    json_is_of_one_answer(as_json, dry_run, detach)
    raw = raw_spec(request.spec, request.recipe, request.overrides)
    with Client() as client:
        request = with_images(client, request, [merged(raw, {"task": {"phase": "search"}})])
        show = partial(print_study_plan, request=request)
        study = submitted(request, client.studies.check, client.studies.submit, show, dry_run=dry_run, as_json=as_json)
        if study is None:
            return
        if detach:
            return _next_steps(study)
        study = watch(client, study)
        print_study(client, study)
    if study.state != "succeeded":
        raise failed(f"the study {study.state}: {study.message or 'see its trials'}")


def list_(
    task: filters.TaskName = None,
    row: filters.RowLabel = None,
    owner: filters.Owner = None,
    project: filters.Project = None,
    since: filters.Since = None,
    search: filters.Name = None,
    ended: filters.Ended = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List studies, newest first."""
    shape = form(as_json, as_csv)
    wanted = filters.Filters(
        task=task, row=row, owner=owner, project=project, since=since, search=search, ended=ended
    ).query()
    with Client() as client:
        found = list(client.studies.list(limit=limit, **wanted))
    records = [each.model_dump(mode="json") for each in found]
    print_as(shape, data=records, rows=records, columns=tuple(StudyView.model_fields), show=lambda: _print_list(found))


def _print_list(found: list[StudyView]) -> None:
    shown = table("id", "~name", "~task", "state", ">trials", ">best", "submitted")
    for study in found:
        best = f"{100 * study.best.value:.1f}" if study.best and study.best.value is not None else ""
        done = f"{_done(study)} of {study.trials}"
        shown.add_row(
            study.id, cell(study.name), cell(study.task), shown_state(study.state), done, best, ago(study.created_at)
        )
    print_table(shown)


def show(
    study: _Id,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
) -> None:
    """Show a study: its best trials, what matters, and the table of the best."""
    shape = form(as_json, as_csv)
    with Client() as client:
        found = client.studies.get(study)
        if wait:
            found = watch(client, found)
        trials = client.studies.trials(study)
        if shape is Form.JSON:
            report = client.studies.report(study).model_dump(mode="json", exclude={"trials"})
            data = {"study": found.model_dump(mode="json"), "report": report}
            return print_json(data | {"trials": [trial.model_dump(mode="json") for trial in trials]})
        if shape is Form.CSV:
            paths = list(dict.fromkeys(path for trial in trials for path in trial.config))
            rows = [trial.model_dump(include={"number", "state", "value", "epochs"}) | trial.config for trial in trials]
            return print_csv(rows, ("number", "state", "value", "epochs", *paths))
        print_study(client, found)


def pause(study: _Id) -> None:
    """Begin no more trials; what runs goes on to its end."""
    _act(lambda client: client.studies.pause(study))


def resume(study: _Id) -> None:
    """Let a paused study go on, or one whose drivers were lost."""
    _act(lambda client: client.studies.resume(study))


def cancel(study: _Id) -> None:
    """End a study's trials and final runs."""
    _act(lambda client: client.studies.cancel(study))


def retry(study: _Id) -> None:
    """Run a study's failed trials again."""
    _act(lambda client: client.studies.retry(study))


def extend(
    study: _Id,
    trials: Annotated[int | None, typer.Option(min=1, help="So many more.")] = None,
    space: _Space = [],  # noqa: B006
    max_epochs: Annotated[int | None, typer.Option(min=1, help="Of all trials together, those of before too.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Of slots, those of before too.")] = None,
) -> None:
    """Search more; what was tried is kept and not repeated."""
    budget = budget_of(max_epochs, max_hours)
    if trials is None and not space and budget is None:
        raise typer.BadParameter("say what to add: --trials, --space, or a larger budget")
    more = parsed(StudyExtension, {"trials": trials, "space": space_of(space), "budget": budget})
    _act(lambda client: client.studies.extend(study, more))


def budget_of(epochs: int | None, hours: float | None) -> dict[str, Any] | None:
    """Returns the budget that the options give; None where they give none."""
    given = {"epochs": epochs, "hours": hours}
    return {name: value for name, value in given.items() if value is not None} or None


def space_of(texts: Sequence[str]) -> dict[str, Any]:
    """Reads `a.b=0.1,0.5` and `a.b=loguniform(1e-4,1e-1)`. Raises typer.BadParameter."""
    space: dict[str, Any] = {}
    for text in texts:
        path, said = pair(text, "--space")
        kind, bracket, rest = said.partition("(")
        kind = kind.strip()
        values = rest.strip().removesuffix(")") if bracket else said
        try:
            read: Any = parse_yaml(f"[{values}]")
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--space {text}: {values!r} are not values separated by commas") from error
        if bracket and kind not in ("choice", "uniform", "loguniform", "int"):
            raise typer.BadParameter(f"--space {text}: {kind!r} must be choice, uniform, loguniform or int")
        numbers = [float(v) if isinstance(v, str) and _is_number(v) else v for v in cast(list[Any], read)]
        space[path] = {kind if bracket else "choice": numbers}
    return space


def _is_number(text: str) -> bool:
    """Whether YAML took a number such as 1e-4 for a text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def watch(client: Client, study: StudyView) -> StudyView:
    """Waits until the study has ended; Ctrl-C ends the waiting alone."""
    return wait_with_bar(
        study,
        lambda: client.studies.get(study.id),
        lambda found: found.state in ("queued", "running"),
        _standing,
        lambda: under_way(client, study.id),
        unit="trials",
        goes_on=f"the study goes on without you: pace study show {study.id} --wait",
    )


def _standing(study: StudyView) -> Standing:
    metric = study.request.get("metric") or "accuracy"
    best = f"best {said(study.best.value, metric)}" if study.best and study.best.value is not None else ""
    return Standing(_done(study), study.trials, best)


def under_way(client: Client, study: str) -> str:
    """Says which trial runs, and how far its job is; after the last, how many final runs of the best have ended."""
    running = [trial for trial in client.studies.trials(study) if trial.state == "running"]
    jobs = [rung.job for trial in running for rung in trial.rungs[-1:] if rung.job]
    if not jobs:
        suite = client.studies.get(study).suite
        final = list(client.jobs.list(suite=suite)) if suite else []
        return f"final runs: {sum(job.state.ended for job in final)} of {len(final)} ended" if final else ""
    settings = ", ".join(f"{path} {value}" for path, value in running[0].config.items())
    return f"trial {running[0].number} ({settings}) {standing(client.jobs.get(jobs[0]))}".rstrip()


def _act(action: Callable[[Client], StudyView]) -> None:
    with Client() as client:
        found = action(client)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(found.counts.items()))
    out().print(f"{found.id}  {shown_state(found.state)}  {counts}".rstrip())
    if found.state in ("queued", "running"):
        _next_steps(found)


def _next_steps(study: StudyView) -> None:
    out().print(f"  pace study show {study.id} --wait    its table, when it has ended")
    out().print(f"  pace study pause|cancel {study.id}")


def _done(study: StudyView) -> int:
    return sum(count for state, count in study.counts.items() if state != "running")
