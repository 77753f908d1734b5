"""Commands on jobs: list, show, steer, fetch, delete."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pace_core.spec.lifecycle import State
from pace_core.spec.result import RunResult
from pace_core.spec.run_spec import RunSpec
from service.client import Client, Job
from service.client.address import how_to_open
from service.client.cli import filters
from service.client.cli.output import (
    AsCsv,
    AsJson,
    Form,
    age,
    ago,
    cell,
    duration,
    form,
    out,
    plain,
    print_as,
    print_csv,
    print_json,
    print_table,
    shown_state,
    table,
)
from service.client.models import QueuePlace

_Id = Annotated[str, typer.Argument(metavar="JOB", help="Such as job_01…; `pace jobs` lists them.")]
_Ids = Annotated[list[str], typer.Argument(metavar="JOB...", help="Such as job_01…; `pace jobs` lists them.")]


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (jobs, show, cancel, pause, resume, retry, delete, download):
        app.command()(command)


def jobs(
    state: filters.States = [],  # noqa: B006
    task: filters.TaskName = None,
    row: filters.RowLabel = None,
    tag: filters.Tags = [],  # noqa: B006
    owner: filters.Owner = None,
    project: filters.Project = None,
    since: filters.Since = None,
    search: filters.Search = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List jobs, newest first."""
    shape = form(as_json, as_csv)
    wanted = filters.Filters(
        state=state, tag=tag, task=task, row=row, owner=owner, project=project, since=since, search=search
    ).query()
    with Client() as client:
        found = list(client.jobs.list(limit=limit, **wanted))
    print_as(
        shape,
        data=[job.model_dump(mode="json") for job in found],
        rows=map(record, found),
        columns=COLUMNS,
        show=lambda: _print_jobs(found, narrowed=any(wanted.values()), of_one_task=task is not None),
    )


COLUMNS = (
    *("id", "state", "reason", "task", "phase", "row", "seed", "val_accuracy", "test_accuracy", "seconds"),
    *("owner", "project", "name", "tags", "created_at", "started_at", "ended_at"),
)
"""Of a job in CSV."""


def record(job: Job) -> dict[str, object]:
    """Returns a job as one line of a table, its numbers as fractions and seconds."""
    known: dict[str, object] = job.model_dump(mode="json")
    measured: dict[str, object] = {
        "val_accuracy": job.result.value("val") if job.result else None,
        "test_accuracy": job.result.value("test") if job.result else None,
        "seconds": job.result.seconds if job.result else None,
        "tags": " ".join(f"{key}={value}" for key, value in job.tags.items()),
    }
    return {name: known.get(name) for name in COLUMNS} | measured


def _print_jobs(found: list[Job], narrowed: bool, of_one_task: bool) -> None:
    if not found:
        made = "`pace submit --recipe vtab-mini --row PACE --task digits` makes one"
        return out().print("no jobs like that; `pace jobs` lists all" if narrowed else f"no jobs; {made}")
    shown = table("job", "~task", "~~row", ">seed", "~~state", "~owner", ">age", "~name")
    several_owners = len({job.owner for job in found}) > 1
    for job in found:  # a column of the same word would cost the others their room
        task, owner = "" if of_one_task else cell(job.task), cell(job.owner) if several_owners else ""
        state = " ".join(filter(None, (shown_state(job.state), cell(accuracy(job.result) or standing(job)))))
        row = (job.id, task, cell(job.row), str(job.seed), state, owner)
        shown.add_row(*row, age(job.created_at), cell(job.name))
    print_table(shown)


def show(job: _Id, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show all about a job."""
    shape = form(as_json, as_csv)
    with Client() as client:
        found = client.jobs.get(job)
        files = client.jobs.artifacts(job) if found.state.ended else []
        mlflow = how_to_open(found.mlflow_url, client.address.url) if found.mlflow_url else ""
    if shape is Form.JSON:
        return print_json(found.model_dump(mode="json") | {"files": [file.model_dump(mode="json") for file in files]})
    if shape is Form.CSV:
        return print_csv([record(found)], COLUMNS)
    console = out()
    console.print(f"{found.id}  {shown_state(found.state)}  {cell(standing(found))}")
    lines: dict[str, object] = {
        "task": f"{found.task} ({found.phase})",
        "row": f"{found.row}, seed {found.seed}",
        "name": found.name,
        "tags": ", ".join(f"{key}={value}" for key, value in found.tags.items()),
        "owner": f"{found.owner}, project {found.project}, priority {found.priority}",
        "attempt": f"{found.attempt} ({found.failures} of {found.max_attempts} used up)",
        "queue": queue_place(found.place) if found.place else "",
        "submitted": f"{found.created_at:%Y-%m-%d %H:%M:%S} UTC, {ago(found.created_at)}",
        "took": duration((found.ended_at - found.started_at).total_seconds())
        if found.ended_at and found.started_at
        else "",
        "message": found.message or "",
        "retry of": found.retry_of or "",
        "MLflow": mlflow,
    }
    for name, value in lines.items():
        if value:
            console.print(f"  {name:12} {cell(value)}")
    if found.result:
        _show_result(found.result)
    for file in files:
        console.print(f"  file         {cell(file.path)} ({file.bytes:,} bytes)")
    console.print(plain(yaml.safe_dump({"spec": _in_order(found.spec)}, sort_keys=False)))


def _in_order(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns a stored spec as a person writes it: sections in RunSpec's order, each with its name first."""
    sections = {key: spec[key] for key in RunSpec.model_fields if key in spec}
    return {
        key: {"name": value["name"], **value} if isinstance(value, dict) and "name" in value else value
        for key, value in sections.items()
    }


def cancel(jobs: _Ids) -> None:
    """End jobs; running ones stop after their step."""
    _each(jobs, lambda client, job: client.jobs.cancel(job))


def pause(jobs: _Ids) -> None:
    """Stop jobs at a checkpoint; `pace resume` lets them go on."""
    _each(jobs, lambda client, job: client.jobs.pause(job))


def resume(jobs: _Ids) -> None:
    """Let paused jobs go on."""
    _each(jobs, lambda client, job: client.jobs.resume(job))


def retry(jobs: _Ids) -> None:
    """Run ended jobs again, each as a new job."""
    _each(jobs, lambda client, job: client.jobs.retry(job))


def delete(jobs: _Ids) -> None:
    """Delete ended jobs and their files."""
    with Client() as client:
        for job in jobs:
            client.jobs.delete(job)
            out().print(f"{job}  deleted")


def download(
    job: _Id,
    target: Annotated[
        Path, typer.Argument(help="A file or an existing folder; the folder you are in if not given.")
    ] = Path("."),
    file: Annotated[str | None, typer.Option(help="One of the files that `pace show` lists; else the adapter.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
) -> None:
    """Download a job's adapter, checked by its SHA-256."""
    with Client() as client:
        written = client.jobs.download(job, target, file, overwrite=overwrite)
    out().print(plain(written))


def standing(job: Job) -> str:
    """Says in a few words what a job is doing."""
    if job.state.ended:
        return job.reason if job.reason and job.state is State.FAILED else ""  # else it is the state's own word
    asked = "cancel asked" if job.cancel_requested else "pause asked" if job.pause_requested else ""
    if job.state is State.QUEUED:
        return f"waits for {job.waiting_for}" if job.waiting_for else ""
    if job.progress and job.progress.epochs:
        unit = "generation" if job.progress.stage == "search" else "epoch"
        done = f"{job.progress.stage} {unit} {job.progress.epoch}/{job.progress.epochs}".lstrip()
        return f"{done}, {asked}" if asked else done
    return asked


def queue_place(place: QueuePlace) -> str:
    """Says how many jobs are ahead of one, and how long they take."""
    if not place.ahead:
        return "the first of all"
    soon = "" if place.starts_in_s is None else f", about {duration(place.starts_in_s)} as jobs end now"
    return f"{place.ahead:,} ahead{soon}"


def accuracy(result: RunResult | None) -> str:
    """Returns the task's measure in percent, on test data or else validation data, with the number behind it.

    A measure other than accuracy is named.
    """
    for split in ("test", "val"):
        for one in result.metrics if result else ():
            if one.split == split:  # the first is what the task is measured by
                count = "" if one.samples is None else f" of {one.samples:,}"
                name = "" if one.metric == "accuracy" else f" {one.metric}"
                value = f"{100 * one.value:.1f} %" if one.metric in _SHARES else f"{one.value:.3f}"
                return f"{value}{count}{name}" + (" (val)" if split == "val" else "")
    return ""


_SHARES = ("accuracy", "exact_match")
"""Metrics that are shares of the samples."""


def _show_result(result: RunResult) -> None:
    console = out()
    for metric in result.metrics:
        count = f" of {metric.samples:,}" if metric.samples else ""
        value = f"{100 * metric.value:.1f} %{count}" if metric.metric in _SHARES else f"{metric.value:.4f}"
        console.print(f"  {metric.split + '/' + metric.metric:12} {value} (epoch {metric.epoch})")
    trained = f"{result.trainable_parameters:,} parameters trained, {result.adapter_parameters:,} without the head"
    console.print(f"  {'trained':12} {trained}")
    console.print(f"  {'training':12} {duration(result.train_seconds)}, {result.images_per_s:.0f} images/s")
    console.print(f"  {'memory':12} {result.peak_memory_bytes / 2**20:,.0f} MiB at most")
    if result.adapter:
        console.print(f"  {'adapter':12} sha256 {result.adapter.sha256}")


def _each(ids: list[str], act: Callable[[Client, str], Job]) -> None:
    with Client() as client:
        for id in ids:
            job = act(client, id)
            new = f"  (retry of {id})" if job.id != id else ""
            out().print(f"{job.id}  {shown_state(job.state)}  {cell(standing(job))}{new}")
