"""One job: how it goes, against its row's earlier runs and the published value; and what can be done with it."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import yaml
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.figures import Figure, curves
from dashboards.pages.overview import done, left_s
from dashboards.rendering import as_json, render
from dashboards.session import form
from dashboards.specs import Change, changes
from service.client import LOGGED, Job, JobEvent, JobRequest, ProblemError, RecipeChoice, log_line
from service.client.models import Point

_LINES = 500
"""Of the log, the last of which a page shows."""
_EARLIER = 3
_FLUSH_S = 1.0
_VERBS = {
    "queued": ("pause", "cancel"),
    "starting": ("pause", "cancel"),
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
}
_ENDED = ("retry", "delete")

Measured = Mapping[str, Sequence[Point]]


async def job(request: Request) -> Response:
    """Shows the job; while it runs the page follows it."""
    client = client_of(request)
    found = await client.jobs.get(request.path_params["job"])
    measured, lines, attempts, before, level, recipe = await asyncio.gather(
        client.jobs.metrics(found.id),
        client.jobs.logs(found.id),
        client.jobs.attempts(found.id),
        _earlier(request, found),
        _published(request, found),
        _from_recipe(request, found),
    )
    files = await client.jobs.artifacts(found.id) if found.state.ended else []
    return render(
        request,
        "job.html",
        **_head(request, found),
        figures=_figures(measured, before, level),
        lines=lines[-_LINES:],
        more_lines=len(lines) > _LINES,
        after=lines[-1].number if lines else 0,
        attempts=attempts,
        files=files,
        recipe=recipe,
        spec=yaml.safe_dump(found.spec, sort_keys=False, allow_unicode=True),
    )


async def live(request: Request) -> Response:
    """Streams what happens to the job: lines of its log, its head and its curves anew."""
    client = client_of(request)
    found = await client.jobs.get(request.path_params["job"])
    said = request.headers.get("last-event-id") or request.query_params.get("after", "")
    after = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0
    before, level = await asyncio.gather(_earlier(request, found), _published(request, found))

    async def messages() -> AsyncIterator[str]:
        dirty: set[str] = set()
        flushed = 0.0
        try:
            async for event in _in_time(client.jobs.events(found.id, after)):
                if event is not None:
                    dirty.add("curves" if event.type == "metrics" else "head")
                    if event.type in LOGGED:
                        yield _message("log", _line(request, event), event.number)
                if dirty and time.monotonic() - flushed >= _FLUSH_S:
                    for message in await _anew(request, found.id, dirty, before, level):
                        yield message
                    dirty, flushed = set(), time.monotonic()
            for message in await _anew(request, found.id, {"head", "curves"}, before, level):
                yield message
        except ProblemError:  # the key was revoked, or the job deleted: the page says so when it is opened again
            pass
        yield _message("end", "")

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(messages(), media_type="text/event-stream", headers=headers)


async def act(request: Request) -> Response:
    """Does one thing to the job, and goes where that leads."""
    jobs, id = client_of(request).jobs, request.path_params["job"]
    verb = (await form(request)).get("verb", [""])[0]
    match verb:
        case "delete":
            await jobs.delete(id)
            return RedirectResponse("/jobs", 303)
        case "retry":
            return RedirectResponse(f"/jobs/{(await jobs.retry(id)).id}", 303)
        case "cancel" | "pause" | "resume":
            await getattr(jobs, verb)(id)
        case _:
            return PlainTextResponse(f"There is no such thing to do as {verb!r}.", 422)
    return RedirectResponse(f"/jobs/{id}", 303)


async def file(request: Request) -> Response:
    """Sends a file of the job; its adapter where no path is given."""
    client = client_of(request)
    opened = client.jobs.opened(request.path_params["job"], request.path_params.get("path"))
    answer = await opened.__aenter__()
    kept = ("content-type", "content-length", "content-disposition", "x-checksum-sha256")

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:
            await opened.__aexit__(None, None, None)

    headers = {name: answer.headers[name] for name in kept if name in answer.headers}
    return StreamingResponse(pieces(), headers=headers)


async def log(request: Request) -> Response:
    """Sends the whole log as text."""
    lines = await client_of(request).jobs.logs(request.path_params["job"])
    return PlainTextResponse("".join(f"{line.at:%Y-%m-%dT%H:%M:%SZ} {line.level} {line.message}\n" for line in lines))


def mlflow_link(url: str | None, here: bool) -> str | None:
    """Returns the job's run in MLflow, through this port where MLflow is reached by it."""
    if url is None or not here:
        return url
    fragment = urlsplit(url).fragment
    return f"/mlflow/#{fragment}" if fragment else "/mlflow/"


def _head(request: Request, found: Job) -> dict[str, Any]:
    may = request.state.own.role in ("user", "admin")
    return {
        "job": found,
        "done": done(found),
        "left": left_s(found) if found.state == "running" else None,
        "verbs": (_ENDED if found.state.ended else _VERBS[found.state.value]) if may else (),
        "mlflow": mlflow_link(found.mlflow_url, request.app.state.mlflow),
    }


def _figures(measured: Measured, before: Mapping[str, Measured], level: float | None) -> dict[str, Figure]:
    shown = "val/accuracy" if "val/accuracy" in measured else "test/accuracy"
    losses = {name.removeprefix("train/"): of for name, of in measured.items() if name.startswith("train/loss")}
    return {
        "loss": curves("Training loss", losses, before={run: of.get("train/loss", ()) for run, of in before.items()}),
        "accuracy": curves(
            f"{'Validation' if shown == 'val/accuracy' else 'Test'} accuracy, %",
            {"this run": measured.get(shown, ())},
            before={run: of.get(shown, ()) for run, of in before.items()},
            line=None if level is None or shown != "test/accuracy" else (f"published {100 * level:.1f}", level),
            percent=True,
        ),
    }


async def _earlier(request: Request, found: Job) -> dict[str, Measured]:
    """Curves of the newest finished runs of the same row on the same task."""
    client = client_of(request)
    task = f"{found.benchmark}/{found.task}" if found.benchmark else found.task
    page = await client.jobs.page(state=["succeeded"], task=task, row=found.row, limit=_EARLIER + 5)
    earlier = [job.id for job in page.jobs if job.id != found.id and job.phase == found.phase][:_EARLIER]
    return dict(zip(earlier, await asyncio.gather(*map(client.jobs.metrics, earlier)), strict=True))


async def _published(request: Request, found: Job) -> float | None:
    """The printed number of the job's row on its task."""
    if not found.benchmark or found.phase != "final":
        return None
    try:
        board = await client_of(request).leaderboard(found.benchmark)
    except ProblemError:
        return None
    return next(
        (cell.published or cell.mean for row in board.rows if row.label == found.row and row.kind == "published"
         if (cell := row.cells.get(found.task))), None
    )  # fmt: skip


async def _from_recipe(request: Request, found: Job) -> list[Change] | None:
    """What the job's spec says otherwise than the recipe of its row; None where its row has none."""
    if not found.benchmark:
        return None
    recipe = RecipeChoice(name=found.benchmark, row=found.row, task=found.task)
    try:
        plain = await client_of(request).jobs.check(JobRequest(recipe=recipe))
    except ProblemError:
        return None
    return changes(plain.spec, found.spec, besides=("seed", "resources.threads"))


async def _in_time(events: AsyncGenerator[JobEvent]) -> AsyncIterator[JobEvent | None]:
    """Yields events as they come, and None after each second without one. Raises ProblemError."""
    coming: asyncio.Queue[JobEvent | ProblemError | None] = asyncio.Queue()

    async def read() -> None:
        end = None
        try:
            async with aclosing(events):
                async for event in events:
                    coming.put_nowait(event)
        except ProblemError as error:
            end = error
        finally:
            coming.put_nowait(end)

    reading = asyncio.create_task(read())
    try:
        while True:
            try:
                event = await asyncio.wait_for(coming.get(), _FLUSH_S)
            except TimeoutError:
                yield None
                continue
            if isinstance(event, ProblemError):
                raise event
            if event is None:
                return
            yield event
    finally:
        reading.cancel()  # not waited for: who has left is told nothing more


async def _anew(
    request: Request, id: str, what: set[str], before: Mapping[str, Measured], level: float | None
) -> list[str]:
    client = client_of(request)
    messages: list[str] = []
    if "head" in what:
        messages.append(_message("head", _block(request, "job_head", **_head(request, await client.jobs.get(id)))))
    if "curves" in what:
        for name, figure in _figures(await client.jobs.metrics(id), before, level).items():
            messages.append(_message(name, f'<script type="application/json">{as_json(figure)}</script>'))
    return messages


def _line(request: Request, event: JobEvent) -> str:
    return _block(request, "log_line", line=log_line(event))


def _block(request: Request, block: str, **more: Any) -> str:
    return bytes(render(request, "job.html", block=block, **more).body).decode()


def _message(event: str, text: str, id: int | None = None) -> str:
    data = "".join(f"data: {line}\n" for line in text.strip().splitlines() or [""])
    return f"event: {event}\n{data}\n" if id is None else f"id: {id}\nevent: {event}\n{data}\n"


class _Id(StringConvertor):
    regex = "job_[0-9a-z]+"


register_url_convertor("id", _Id())  # so that an address of no job asks the API for nothing else either

routes = [
    Route("/jobs/{job:id}", job),
    Route("/jobs/{job:id}", act, methods=["POST"]),
    Route("/jobs/{job:id}/live", live),
    Route("/jobs/{job:id}/log.txt", log),
    Route("/jobs/{job:id}/adapter", file),
    Route("/jobs/{job:id}/files/{path:path}", file),
]
