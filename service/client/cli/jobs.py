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
from service.client.cli.output import ago, duration, out, plain, print_table, shown_state, table

_Id = Annotated[str, typer.Argument(metavar="JOB", help="Such as job_01…; `pace jobs` lists them.")]
_Ids = Annotated[list[str], typer.Argument(metavar="JOB...", help="Such as job_01…; `pace jobs` lists them.")]


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (jobs, show, cancel, pause, resume, retry, delete, download):
        app.command()(command)


def jobs(
    state: Annotated[list[State], typer.Option(help="Only these.")] = [],  # noqa: B006
    task: Annotated[str | None, typer.Option(help="Such as digits or vtab-mini/digits.")] = None,
    row: Annotated[str | None, typer.Option(help="Label in tables.")] = None,
    search: Annotated[str | None, typer.Option(help="Part of name, row, task or id.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
) -> None:
    """List jobs, newest first."""
    states = [str(wanted) for wanted in state]
    with Client() as client:
        found = list(client.jobs.find(limit=limit, state=states or None, task=task, row=row, search=search))
    if not found:
        out().print("no jobs; `pace submit --recipe vtab-mini --row PACE --task digits` makes one")
        return
    shown = table("job", "task", "row", ">seed", "state", "progress", ">accuracy", "age", "name")
    for job in found:
        shown.add_row(
            job.id,
            plain(job.task),
            plain(job.row),
            str(job.seed),
            shown_state(job.state),
            plain(standing(job)),
            accuracy(job.result),
            ago(job.created_at),
            plain(job.name),
        )
    print_table(shown)


def show(job: _Id) -> None:
    """Show all about a job."""
    with Client() as client:
        found = client.jobs.get(job)
        files = client.jobs.artifacts(job) if found.state.ended else []
    console = out()
    console.print(f"{found.id}  {shown_state(found.state)}  {plain(standing(found))}")
    lines: dict[str, object] = {
        "task": f"{found.task} ({found.phase})",
        "row": f"{found.row}, seed {found.seed}",
        "name": found.name,
        "tags": ", ".join(f"{key}={value}" for key, value in found.tags.items()),
        "owner": f"{found.owner}, project {found.project}, priority {found.priority}",
        "attempt": f"{found.attempt} ({found.failures} of {found.max_attempts} used up)",
        "submitted": f"{found.created_at:%Y-%m-%d %H:%M:%S} UTC, {ago(found.created_at)}",
        "took": duration((found.ended_at - found.started_at).total_seconds())
        if found.ended_at and found.started_at
        else "",
        "message": found.message or "",
        "retry of": found.retry_of or "",
        "MLflow": found.mlflow_url or "",
    }
    for name, value in lines.items():
        if value:
            console.print(f"  {name:12} {plain(value)}")
    if found.result:
        _show_result(found.result)
    for file in files:
        console.print(f"  file         {plain(file.path)} ({file.bytes:,} bytes)")
    console.print(plain(yaml.safe_dump({"spec": _in_order(found.spec)}, sort_keys=False)))


def _in_order(spec: dict[str, Any]) -> dict[str, Any]:
    """A stored spec as a person writes it: sections in RunSpec's order, each with its name first."""
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
    target: Annotated[Path, typer.Argument(help="A file, or a folder that is there.")] = Path("."),
    file: Annotated[str | None, typer.Option(help="One of the files that `pace show` lists; else the adapter.")] = None,
) -> None:
    """Download a job's adapter, checked by its SHA-256."""
    with Client() as client:
        written = client.jobs.download(job, target, file)
    out().print(plain(written))


def standing(job: Job) -> str:
    """What a job is doing, in a few words."""
    if job.state.ended:
        return job.reason if job.reason and job.state is not State.SUCCEEDED else ""
    asked = "cancel asked" if job.cancel_requested else "pause asked" if job.pause_requested else ""
    if job.state is State.QUEUED:
        return job.waiting_for or ""
    if job.progress and job.progress.epochs:
        unit = "generation" if job.progress.stage == "search" else "epoch"
        done = f"{job.progress.stage} {unit} {job.progress.epoch}/{job.progress.epochs}".lstrip()
        return f"{done}, {asked}" if asked else done
    return asked


def accuracy(result: RunResult | None) -> str:
    """Test accuracy in percent, else that of validation."""
    for split in ("test", "val"):
        value = result.value(split) if result else None
        if value is not None:
            return f"{100 * value:.1f}" + (" (val)" if split == "val" else "")
    return ""


def _show_result(result: RunResult) -> None:
    console = out()
    for metric in result.metrics:
        console.print(f"  {metric.split + '/' + metric.metric:12} {metric.value:.4f} (epoch {metric.epoch})")
    trained = f"{result.trainable_parameters:,} parameters trained, {result.adapter_parameters:,} without the head"
    console.print(f"  {'trained':12} {trained}")
    console.print(f"  {'training':12} {duration(result.train_seconds)}, {result.images_per_s:.0f} images/s")
    console.print(f"  {'memory':12} {result.peak_memory_bytes / 2**20:,.0f} MiB at the most")
    if result.adapter:
        console.print(f"  {'adapter':12} sha256 {result.adapter.sha256}")


def _each(ids: list[str], act: Callable[[Client, str], Job]) -> None:
    with Client() as client:
        for id in ids:
            job = act(client, id)
            new = f"  (retry of {id})" if job.id != id else ""
            out().print(f"{job.id}  {shown_state(job.state)}  {plain(standing(job))}{new}")
