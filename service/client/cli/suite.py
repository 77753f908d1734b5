"""`pace suite`: rows × tasks × seeds as one submission, which ends with its table."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import typer
from pydantic import BaseModel, ValidationError

from pace_core.spec.errors import Fault, SpecError
from pace_core.spec.recipes import merged
from pace_core.spec.spec_file import read_spec_file, with_absolute_paths
from service.client import Client, SuiteExtension, SuiteRequest, SuiteView
from service.client.cli import filters, jobs
from service.client.cli.inspection import with_images
from service.client.cli.output import (
    AsCsv,
    AsJson,
    AsOneJson,
    ago,
    cell,
    duration,
    failed,
    form,
    json_is_of_one_answer,
    out,
    print_as,
    print_json,
    print_table,
    shown_state,
    table,
    write,
)
from service.client.cli.plan_cost import submitted
from service.client.cli.seeds import seeds_of
from service.client.cli.submit import parse_overrides
from service.client.cli.suite_report import print_plan, print_suite
from service.client.cli.waiting import Standing, wait_with_bar
from service.client.comparison import Phase

T = TypeVar("T", bound=BaseModel)
app = typer.Typer(help="Whole tables as one submission: rows × tasks × seeds.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="SUITE", help="Such as suite_01…; `pace suite list` lists them.")]
_Tasks = Annotated[
    str, typer.Option("--tasks", "--task", metavar="a,b", help="Tasks of the benchmark; all of them if none.")
]
_Rows = Annotated[str, typer.Option(metavar="a,b", help="Labels of the recipe's rows.")]
_Methods = Annotated[str, typer.Option(metavar="a,b", help="Rows of these methods, each with every --regularizers.")]
_Regularizers = Annotated[
    str, typer.Option(metavar="none,pace", help="Of every --methods; of a spec, instead of its own. none if not given.")
]
_Backbones = Annotated[str, typer.Option(metavar="a,b")]
_Draws = Annotated[
    str, typer.Option(metavar="0,1|0-2", help="Draws of training images, where a benchmark has several; all if none.")
]


def install(pace: typer.Typer) -> None:
    """Adds the commands."""
    for command in (submit, show, cancel, retry, extend):
        app.command()(command)
    app.command("list")(list_)
    pace.add_typer(app, name="suite")


def submit(
    file: Annotated[Path | None, typer.Argument(help="A suite or spec, YAML or JSON; options win.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Such as vtab-mini.")] = None,
    tasks: _Tasks = "",
    rows: _Rows = "",
    methods: _Methods = "",
    regularizers: _Regularizers = "",
    backbones: _Backbones = "",
    seeds: Annotated[str, typer.Option(metavar="0,1|0-4")] = "",
    draws: _Draws = "",
    set: Annotated[list[str], typer.Option(metavar="a.b=c", help="Set a field in every row.")] = [],  # noqa: B006
    phase: Annotated[Phase | None, typer.Option(help="search: validation images; final: test images.")] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    max_parallel: Annotated[int | None, typer.Option(min=1, help="The most jobs that run at a time.")] = None,
    stop_after: Annotated[
        int | None, typer.Option(min=0, help="Stop after so many equal failures in a row; 0: never.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Higher runs first.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also run what is done already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan and what it takes.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the table.")] = False,
    as_json: AsOneJson = False,
) -> None:
    """Submit a suite: `pace suite submit --benchmark vtab-mini --rows PACE,Linear --seeds 0,1`, or a file.

    Of a spec, `pace suite submit photos.yaml --regularizers none,pace --seeds 0,1` makes a row of each regularizer.
    Prints the plan and what it takes, waits, and ends with the table. What is done already is not run again.
    """
    read: dict[str, Any] = dict(read_spec_file(file)) if file else {}
    raw = of_spec(read, _names(regularizers)) if "task" in read else read
    given: dict[str, Any] = {
        "benchmark": benchmark,
        "tasks": _names(tasks),
        "rows": _rows_of(rows, methods, regularizers or "none"),
        "backbones": _names(backbones),
        "seeds": seeds_of(seeds) if seeds else None,
        "draws": seeds_of(draws, "--draws") if draws else None,
        "overrides": merged(raw.get("overrides", {}), parse_overrides(set)) or None,
        "phase": phase,
        "name": name if name is not None or "name" in raw or file is None else file.stem,
        "max_parallel": max_parallel,
        "priority": priority,
    }
    raw |= {key: value for key, value in given.items() if value not in (None, [])}
    raw |= {} if stop_after is None else {"stop_after": stop_after or None}
    raw |= {"reuse": False} if again else {}
    if not raw.get("rows"):
        raise typer.BadParameter("name --rows of a recipe, or --methods (`pace catalogue` lists both), or a file")
    json_is_of_one_answer(as_json, dry_run, detach)
    request = parsed(SuiteRequest, raw)
    with Client() as client:
        request = with_images(client, request, own_specs(request))
        suite = submitted(
            request, client.suites.check, client.suites.submit, print_plan, dry_run=dry_run, as_json=as_json
        )
        if suite is None:
            return
        if detach:
            return _next_steps(suite)
        _to_the_table(client, suite)


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
    """List suites, newest first."""
    shape = form(as_json, as_csv)
    wanted = filters.Filters(
        task=task, row=row, owner=owner, project=project, since=since, search=search, ended=ended
    ).query()
    with Client() as client:
        found = list(client.suites.list(limit=limit, **wanted))
    records = [each.model_dump(mode="json") for each in found]
    print_as(shape, data=records, rows=records, columns=tuple(SuiteView.model_fields), show=lambda: _print_list(found))


def _print_list(found: list[SuiteView]) -> None:
    shown = table("id", "~name", "state", ">done", ">rows", ">tasks", ">seeds", "submitted")
    for suite in found:
        done = f"{_ended(suite)} of {suite.runs}"
        sizes = (str(len(suite.rows)), str(len(suite.tasks)), str(len(suite.seeds)))
        shown.add_row(suite.id, cell(suite.name), shown_state(suite.state), done, *sizes, ago(suite.created_at))
    print_table(shown)


def show(
    suite: _Id,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    md: Annotated[bool, typer.Option("--md", help="Print the table as Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table for LaTeX (booktabs).")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Print a picture: `pace suite show … --svg > table.svg`.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all its jobs have ended.")] = False,
) -> None:
    """Show a suite: how far it is, and its table."""
    forms = {"csv": as_csv, "md": md, "latex": latex, "svg": svg}
    if sum((as_json, *forms.values())) > 1:
        raise typer.BadParameter("give one of --json, --csv, --md, --latex and --svg")
    with Client() as client:
        found = client.suites.get(suite)
        if wait:
            found = watch(client, found)
        chosen = next((form for form, asked in forms.items() if asked), None)
        if chosen is not None:
            write(client.suites.written(suite, cast(Literal["csv", "md", "latex", "svg"], chosen)))
        elif as_json:
            board = client.suites.table(suite)
            print_json({"suite": found.model_dump(mode="json"), "table": board.model_dump(mode="json")})
        else:
            print_suite(found, client.suites.table(suite), client.address.url)


def cancel(suite: _Id) -> None:
    """Cancel the jobs that a suite has submitted."""
    _act(suite, lambda client: client.suites.cancel(suite))


def retry(suite: _Id) -> None:
    """Run again what failed, was cancelled or was deleted; nothing else."""
    _act(suite, lambda client: client.suites.retry(suite))


def extend(
    suite: _Id,
    tasks: _Tasks = "",
    rows: _Rows = "",
    methods: _Methods = "",
    regularizers: _Regularizers = "",
    backbones: _Backbones = "",
    seeds: Annotated[str, typer.Option(metavar="0,1|0-4")] = "",
    draws: _Draws = "",
) -> None:
    """Add tasks, rows, backbones, seeds or draws; what the suite has already is not run again."""
    more = parsed(
        SuiteExtension,
        {
            "tasks": _names(tasks),
            "rows": _rows_of(rows, methods, regularizers or "none"),
            "backbones": _names(backbones),
            "seeds": seeds_of(seeds) if seeds else [],
            "draws": seeds_of(draws, "--draws") if draws else [],
        },
    )
    if more == SuiteExtension():
        raise typer.BadParameter("say what to add: --tasks, --rows, --methods, --backbones, --seeds or --draws")
    _act(suite, lambda client: client.suites.extend(suite, more))


def _to_the_table(client: Client, suite: SuiteView) -> None:
    ended = watch(client, suite)
    print_suite(ended, client.suites.table(suite.id), client.address.url)
    if ended.state != "succeeded":
        raise failed(f"not every job succeeded; `pace suite retry {suite.id}` runs those again that did not")


def watch(client: Client, suite: SuiteView) -> SuiteView:
    """Waits until all jobs have ended; Ctrl-C ends the waiting alone."""
    return wait_with_bar(
        suite,
        lambda: client.suites.get(suite.id),
        lambda found: found.state in ("queued", "running", "paused"),
        _standing,
        lambda: _under_way(client, suite.id),
        unit="runs",
        goes_on=f"the suite goes on without you: pace suite show {suite.id} --wait",
    )


def _standing(suite: SuiteView) -> Standing:
    left = "" if suite.minutes_left is None else f"{duration(60 * suite.minutes_left)} of one slot left"
    return Standing(_ended(suite) + suite.trials_ended, suite.runs + suite.trials, left, timed=bool(left))


def _under_way(client: Client, suite: str) -> str:
    """Says which of the suite's jobs runs, and how far it is."""
    found = list(client.jobs.list(limit=1, suite=suite, state="running"))
    return " ".join(f"{job.row} on {job.task}, seed {job.seed}: {jobs.standing(job)}".rstrip(": ") for job in found)


def own_specs(request: SuiteRequest) -> list[dict[str, Any]]:
    """Returns a spec of each task of the user's own, for its data alone, with paths that hold everywhere."""
    rest = {name: part for name, part in request.overrides.items() if name in ("task", "resources")}
    base = merged(rest, {"task": {"phase": request.phase}, "method": {"name": "linear"}})
    return [with_absolute_paths(merged({"task": task}, base)) for task in request.tasks if not isinstance(task, str)]


def of_spec(spec: dict[str, Any], regularizers: list[str]) -> dict[str, Any]:
    """Returns the suite of a spec: its task, and as rows its method with each of the regularizers, its own if none.

    The spec's settings of a regularizer go with that one alone.
    """
    section: Any = spec.get("regularizer") or {"name": "none"}
    own: dict[str, Any] = {"name": section} if isinstance(section, str) else section
    named = [own if name == own.get("name") else {"name": name} for name in regularizers] or [own]
    task: Any = spec["task"]
    fields = cast("dict[str, Any]", task) if isinstance(task, dict) else {}
    known = "source" not in fields and "/" in str(fields.get("name"))
    rest = {key: value for key, value in spec.items() if key not in ("task", "method", "regularizer", "seed")}
    if known:
        more = {key: value for key, value in fields.items() if key not in ("name", "phase")}
        rest = merged(rest, {"task": more}) if more else rest
    return {
        "tasks": [fields["name"] if known else task],
        "rows": [{"spec": {"method": spec.get("method", {}), "regularizer": chosen}} for chosen in named],
        "overrides": rest,
    }


def _act(suite: str, action: Callable[[Client], SuiteView]) -> None:
    with Client() as client:
        found = action(client)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(found.counts.items()))
    out().print(f"{found.id}  {shown_state(found.state)}  {counts}")
    if found.state in ("queued", "running"):
        _next_steps(found)


def _next_steps(suite: SuiteView) -> None:
    out().print(f"  pace suite show {suite.id} --wait    its table, when all have ended")
    out().print(f"  pace suite cancel {suite.id}")


def _ended(suite: SuiteView) -> int:
    return sum(suite.counts.get(state, 0) for state in ("succeeded", "failed", "cancelled", "refused", "deleted"))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _rows_of(rows: str, methods: str, regularizers: str) -> list[Any]:
    pairs = [(method, regularizer) for method in _names(methods) for regularizer in _names(regularizers) or ["none"]]
    return [
        *_names(rows),
        *({"spec": {"method": {"name": method}, "regularizer": {"name": name}}} for method, name in pairs),
    ]


def parsed(kind: type[T], raw: dict[str, Any]) -> T:
    """Returns the request. Raises SpecError, with a pointer to every field that is wrong."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        faults = [
            Fault(pointer="/" + "/".join(map(str, item["loc"])), code="wrong_type", message=item["msg"])
            for item in error.errors()
        ]
        raise SpecError(faults) from None
