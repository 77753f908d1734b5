"""`pace logs` and `pace watch`: what jobs say while they run."""

import asyncio
from datetime import datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from pace_core.spec.events import EventType
from service.client import AsyncClient, Client, Job, JobEvent
from service.client.cli.jobs import accuracy, standing
from service.client.cli.output import AsCsv, Form, cell, form, out, plain, print_csv, shown_state, write
from service.client.models import LogLine

_LEVELS = {"warning": "yellow", "error": "red"}
_LOOK_S = 1.0


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(logs)
    app.command()(watch)


def logs(
    job: Annotated[str, typer.Argument(metavar="JOB")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
    as_csv: AsCsv = False,
) -> None:
    """Print a job's log."""
    shape = form(as_json, as_csv)
    if shape is not Form.TABLE and follow:
        raise typer.BadParameter("--follow prints lines for people; leave it out, or --json and --csv")
    with Client() as client:
        last = 0
        lines = client.jobs.logs(job)
        if shape is Form.CSV:
            return print_csv((line.model_dump(mode="json") for line in lines), tuple(LogLine.model_fields))
        for line in lines:
            if shape is Form.JSON:
                write(line.model_dump_json() + "\n")
            else:
                _print_line(line.at, line.level, line.message)
            last = line.number
        if follow:
            for event in client.jobs.events(job, after=last):
                _print_event(event)


def watch(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="All that have not ended, if none.")
    ] = None,
) -> None:
    """Show the progress of jobs until they have ended; exit code 1 if one did not succeed."""
    ended = asyncio.run(watch_until_ended(jobs or []))
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(1)


async def watch_until_ended(ids: list[str]) -> list[Job]:
    """Shows the progress of these jobs, of all that have not ended if none; the jobs when they have."""
    async with AsyncClient() as client:
        if not ids:
            waiting = ["queued", "starting", "running", "paused"]
            ids = [job.id async for job in client.jobs.list(state=waiting)][::-1]
        if not ids:
            out().print("no job is waiting or running")
            return []
        console = out()
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[standing]}"),
            console=console,
            disable=not console.is_terminal,
        )
        with bars:
            # no total yet, so that a bar pulses until its job trains
            rows = {id: bars.add_task(id, total=None, standing="") for id in ids}
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(_follow(client, id, bars, row)) for id, row in rows.items()]
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None  # they all meet the same service
    return [task.result() for task in tasks]


async def _follow(client: AsyncClient, id: str, bars: Progress, row: TaskID) -> Job:
    said = ""
    while True:
        job = await client.jobs.get(id)
        progress, result = job.progress, accuracy(job.result)
        bars.update(
            row,
            description=f"{cell(job.task)} / {cell(job.row)} / {job.seed}",
            total=1 if job.state.ended else progress.steps if progress and progress.steps else None,
            completed=1 if job.state.ended else progress.step if progress else 0,
            standing=" ".join(filter(None, (shown_state(job.state), cell(standing(job)), result))),
        )
        now = f"{job.state} {standing(job)}"
        if bars.disable and now != said:
            out().print(cell(f"{job.id}  {job.task} / {job.row} / {job.seed}  {now} {result}".rstrip()))
            said = now
        if job.state.ended:
            return job
        await asyncio.sleep(_LOOK_S)


def _print_event(event: JobEvent) -> None:
    data = event.data
    match event.type:
        case EventType.LOG:
            _print_line(event.at, str(data.get("level", "info")), str(data.get("message", "")))
        case EventType.STAGE:
            _print_line(event.at, "info", f"stage {data.get('name')}")
        case EventType.STATE:
            words = dict.fromkeys(str(data[key]) for key in ("state", "reason", "message") if data.get(key))
            _print_line(event.at, "info", " ".join(words))  # state and reason are often one word
        case _:
            pass


def _print_line(at: datetime, level: str, message: str) -> None:
    style = _LEVELS.get(level)
    text = f"{at:%H:%M:%S} {plain(message)}"
    out().print(f"[{style}]{text}[/]" if style else text)
