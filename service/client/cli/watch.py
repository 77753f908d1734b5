"""`pace logs` and `pace watch`: what jobs say while they run."""

import asyncio
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from service.client import AsyncClient, Client, Job
from service.client.cli.jobs import accuracy, standing
from service.client.cli.output import (
    AsCsv,
    Form,
    cell,
    form,
    going_on,
    out,
    plain,
    print_csv,
    shown_state,
    write,
)
from service.events.schemas import LOGGED, LogLine, log_line

_LEVELS = {"warning": "yellow", "error": "red"}
_LOOK_S = 1.0


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(logs)
    app.command()(watch)


def logs(
    job: Annotated[str, typer.Argument(metavar="JOB")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False,
    as_csv: AsCsv = False,
) -> None:
    """Print a job's log."""
    shape = form(as_json, as_csv)
    going = f"the job goes on; `pace logs -f {job}` follows it again, `pace cancel {job}` ends it"
    with going_on(going if follow else "stopped"), Client() as client:
        lines = _lines(client, job, follow)
        match shape:
            case Form.CSV:
                print_csv((line.model_dump(mode="json") for line in lines), tuple(LogLine.model_fields))
            case Form.JSON:
                for line in lines:
                    write(line.model_dump_json() + "\n")
            case Form.TABLE:
                for line in lines:
                    _print_line(line)


def _lines(client: Client, job: str, follow: bool) -> Iterator[LogLine]:
    """Yields what the job has said, with `follow` also what it will say until it has ended."""
    last = 0
    for line in client.jobs.logs(job):
        yield line
        last = line.number
    for event in client.jobs.events(job, after=last) if follow else ():
        if event.type in LOGGED:
            yield log_line(event)


def watch(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="All that have not ended, if none.")
    ] = None,
) -> None:
    """Show the progress of jobs until they have ended; exit code 1 if one did not succeed."""
    with going_on("the jobs go on; `pace watch` shows them again, `pace cancel JOB` ends one"):
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
            return await _until_ended(client, rows, bars)


async def _until_ended(client: AsyncClient, rows: dict[str, TaskID], bars: Progress) -> list[Job]:
    found: dict[str, Job] = {}
    said: dict[str, str] = {}
    while True:
        looked = [id for id in rows if id not in found or not found[id].state.ended]
        if not looked:
            return [found[id] for id in rows]
        for id, job in zip(looked, await asyncio.gather(*map(client.jobs.get, looked)), strict=True):
            found[id] = job
            _show(job, bars, rows[id])
            now = f"{job.state} {standing(job)}"
            if bars.disable and now != said.get(id):
                line = f"{job.id}  {job.task} / {job.row} / {job.seed}  {now} {accuracy(job.result)}"
                out().print(cell(line.rstrip()))
                said[id] = now
        if not all(job.state.ended for job in found.values()):
            await asyncio.sleep(_LOOK_S)


def _show(job: Job, bars: Progress, row: TaskID) -> None:
    progress, ended = job.progress, job.state.ended
    bars.update(
        row,
        description=f"{cell(job.task)} / {cell(job.row)} / {job.seed}",
        total=1 if ended else progress.steps if progress and progress.steps else None,
        completed=1 if ended else progress.step if progress else 0,
        standing=" ".join(filter(None, (shown_state(job.state), cell(standing(job)), accuracy(job.result)))),
    )


def _print_line(line: LogLine) -> None:
    style = _LEVELS.get(line.level)
    text = f"{line.at:%H:%M:%S} {plain(line.message)}"
    out().print(f"[{style}]{text}[/]" if style else text)
