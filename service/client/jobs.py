"""Jobs: submit, look, steer, fetch."""

import asyncio
import builtins
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2

from service.client.connection import PATIENCE_S, Connection
from service.client.models import Artifact, Job, Point
from service.client.paths import with_paths_of
from service.events.schemas import EventView as JobEvent
from service.events.schemas import LogLine
from service.jobs.schemas import AttemptView, JobRequest, JobTotals, Outcome, Validated, Verb

PAGE = 100
"""Jobs to a request."""
_WAIT_S = 30.0  # of one long poll
_STREAM_SILENT_S = 45.0  # the service sends a ping every 15 s


class DownloadError(RuntimeError):
    """A file did not arrive as it was sent."""


class JobsPage(NamedTuple):
    """One page of a list of jobs."""

    jobs: list[Job]
    next_cursor: str | None
    """For `after`; None where this is the last page."""


class AsyncJobs:
    """The jobs that the key can see."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def submit(self, request: JobRequest, *, once: str | None = None) -> Job:
        """Queues a run. Sent with an Idempotency-Key, so that it can be repeated and still makes one job.

        `once`: a key of your own, with which it is made once.

        Raises ProblemError with every fault of the spec.
        """
        headers = {"Idempotency-Key": once or str(uuid.uuid4())}
        return await self._job(
            await self._connection.json("POST", "/v1/jobs", body=self._json(request), headers=headers, safe=True)
        )

    async def check(self, request: JobRequest) -> Validated:
        """Returns the resolved spec and what it would take, and queues nothing. Raises ProblemError."""
        query = {"validate_only": True}
        answer = await self._connection.json("POST", "/v1/jobs", body=self._json(request), query=query, safe=True)
        return Validated.model_validate(answer)

    async def get(self, job: str) -> Job:
        """Returns the job as it is now."""
        return await self._job(await self._connection.json("GET", f"/v1/jobs/{quote(job, safe='')}"))

    async def wait(self, job: str, timeout_s: float | None = None) -> Job:
        """Waits until the job has ended, and returns it. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        while True:
            left = _WAIT_S if deadline is None else min(_WAIT_S, max(0.0, deadline - time.monotonic()))
            query = {"wait": left}
            answer = await self._connection.json(
                "GET", f"/v1/jobs/{quote(job, safe='')}", query=query, timeout_s=left + 15.0
            )
            found = await self._job(answer)
            if found.state.ended:
                return found
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{job} is still {found.state} after {timeout_s:g} s")

    async def change(
        self, job: str, *, name: str | None = None, priority: int | None = None, tags: dict[str, str] | None = None
    ) -> Job:
        """Changes what is given; `tags` replaces all tags."""
        body = {"name": name, "priority": priority, "tags": tags}
        given = {key: value for key, value in body.items() if value is not None}
        return await self._job(
            await self._connection.json("PATCH", f"/v1/jobs/{quote(job, safe='')}", body=given, safe=True)
        )

    async def cancel(self, job: str) -> Job:
        """Asks the job to end; a running one stops after its step."""
        return await self._act(job, "cancel")

    async def pause(self, job: str) -> Job:
        """Asks the job to stop at a checkpoint and give its slot back."""
        return await self._act(job, "pause")

    async def resume(self, job: str) -> Job:
        """Queues a paused job again; it goes on from its checkpoint."""
        return await self._act(job, "resume")

    async def retry(self, job: str) -> Job:
        """Queues a new job with the ended one's spec; returns the one of an earlier retry while that has not ended."""
        return await self._act(job, "retry")

    async def delete(self, job: str) -> None:
        """Deletes an ended job and its files."""
        await self._connection.json("DELETE", f"/v1/jobs/{quote(job, safe='')}")

    async def batch(self, verb: Verb, jobs: Sequence[str]) -> builtins.list[Outcome]:
        """Does the same to many jobs, 200 at most, each by itself; returns how each went."""
        body = {"verb": verb, "jobs": [*jobs]}
        answer = await self._connection.json("POST", "/v1/jobs/batch", body=body)
        return [Outcome.model_validate(outcome) for outcome in answer["data"]]

    async def events(self, job: str, after: int = 0, follow: bool = True) -> AsyncGenerator[JobEvent]:
        """Yields the job's events, oldest first; with `follow` also those to come, until the job has ended.

        A broken stream is taken up again where it broke off.
        """
        if not follow:
            async for event in self._stored_events(job, after):
                yield event
            return
        lost_at: float | None = None
        while True:
            try:
                async with aclosing(self._streamed_events(job, after)) as events:
                    async for event in events:
                        yield event
                        after, lost_at = event.number, None
                return
            except httpx2.TransportError as error:
                now = time.monotonic()
                lost_at = lost_at or now
                if now - lost_at > PATIENCE_S:
                    raise self._connection.no_service(error) from error
                await asyncio.sleep(0.5)

    async def logs(self, job: str, after: int = 0) -> list[LogLine]:
        """Returns what the run and the service logged so far, from the event number `after` on."""
        lines: list[LogLine] = []
        while True:
            query = {"after": after, "format": "json"}
            page = await self._connection.json("GET", f"/v1/jobs/{quote(job, safe='')}/logs", query=query)
            lines += [LogLine.model_validate(line) for line in page["data"]]
            after = page["next_cursor"]
            if not page["has_more"]:
                return lines

    async def metrics(self, job: str) -> dict[str, list[Point]]:
        """Returns each metric's points, in order."""
        answer = await self._connection.json("GET", f"/v1/jobs/{quote(job, safe='')}/metrics")
        return {name: [Point.model_validate(point) for point in points] for name, points in answer["data"].items()}

    async def artifacts(self, job: str) -> list[Artifact]:
        """Lists the job's files."""
        answer = await self._connection.json("GET", f"/v1/jobs/{quote(job, safe='')}/artifacts")
        return [Artifact.model_validate(artifact) for artifact in answer["data"]]

    async def download(
        self, job: str, target: str | os.PathLike[str] = ".", path: str | None = None, *, overwrite: bool = False
    ) -> Path:
        """Writes one of the job's files, the adapter where `path` is None, to `target`; its path.

        In a folder the file is named after task, row and seed. Raises DownloadError where a file of that name is there
        and `overwrite` is false, and where what arrived is not what was sent; `target` is then left as it was.
        """
        url = f"/v1/jobs/{quote(job, safe='')}/artifacts/{path}" if path else f"/v1/jobs/{quote(job, safe='')}/adapter"
        file = Path(target).expanduser()
        if file.is_dir():
            file = file / (path.replace("/", "-") if path else _file_name(await self.get(job)))
        if file.exists() and not overwrite:
            raise DownloadError(f"{file} is there already; name another file, or overwrite it (--overwrite)")
        if not file.parent.is_dir():
            raise DownloadError(f"there is no folder {file.parent}")
        part = file.with_name(f"{file.name}.part")
        digest = hashlib.sha256()
        try:
            async with self._connection.stream(url) as response:
                with part.open("wb") as out:
                    async for block in response.aiter_bytes():
                        digest.update(block)
                        out.write(block)
                said = response.headers.get("X-Checksum-Sha256")
            if said != digest.hexdigest():
                raise DownloadError(
                    f"{file.name} arrived damaged: SHA-256 {digest.hexdigest()}, sent {said}; try again"
                )
            part.replace(file)
        except httpx2.TransportError as error:
            raise self._connection.no_service(error) from error
        finally:
            part.unlink(missing_ok=True)
        return file

    @asynccontextmanager
    async def opened(self, job: str, path: str | None = None) -> AsyncGenerator[httpx2.Response]:
        """Opens one of the job's files, the adapter where `path` is None, to be read piece by piece.

        Raises ProblemError, httpx2.TransportError.
        """
        url = (
            f"/v1/jobs/{quote(job, safe='')}/artifacts/{quote(path)}"
            if path
            else f"/v1/jobs/{quote(job, safe='')}/adapter"
        )
        async with self._connection.stream(url) as response:
            yield response

    def _json(self, request: JobRequest) -> dict[str, Any]:
        """Returns the request's body, its paths absolute.

        Raises SpecError where this machine's own stack lacks one of them.
        """
        return with_paths_of(request.model_dump(mode="json", exclude_defaults=True), self._connection.address)

    async def _job(self, answer: Any) -> Job:
        found = Job.model_validate(answer)
        return found.model_copy(update={"mlflow_url": await self._connection.link_from_here(found.mlflow_url)})

    async def _act(self, job: str, verb: str) -> Job:
        # asking for what is so already changes nothing
        return await self._job(await self._connection.json("POST", f"/v1/jobs/{quote(job, safe='')}/{verb}", safe=True))

    async def _stored_events(self, job: str, after: int) -> AsyncGenerator[JobEvent]:
        while True:
            page = await self._connection.json("GET", f"/v1/jobs/{quote(job, safe='')}/events", query={"after": after})
            for event in page["data"]:
                yield JobEvent.model_validate(event)
            after = page["next_cursor"]
            if not page["has_more"]:
                return

    async def _streamed_events(self, job: str, after: int) -> AsyncGenerator[JobEvent]:
        """Returns when the job has ended; raises httpx2.TransportError where the stream broke off before."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        path = f"/v1/jobs/{quote(job, safe='')}/events/stream"
        async with self._connection.stream(path, headers, timeout_s=_STREAM_SILENT_S) as response:
            async for message in httpx2.EventSource(response):
                if not message.data:  # only a hint when to connect again
                    continue
                data = json.loads(message.data)
                if "number" not in data:  # the service's own word that no more will come
                    return
                yield JobEvent.model_validate(data)
        raise httpx2.ReadError("the stream broke off")

    async def page(self, **query: str | int | Sequence[str] | None) -> JobsPage:
        """Returns one page of a list, with the cursor of the next; filters, order and `after` as in `GET /v1/jobs`."""
        answer = await self._connection.json("GET", "/v1/jobs", query=query)
        return JobsPage([await self._job(entry) for entry in answer["data"]], answer["next_cursor"])

    async def totals(self, **filters: str | Sequence[str] | None) -> JobTotals:
        """Counts the jobs that the filters leave, by state, and says what the queued ones wait for."""
        return JobTotals.model_validate(await self._connection.json("GET", "/v1/jobs/totals", query=filters))

    async def attempts(self, job: str) -> builtins.list[AttemptView]:
        """Returns every attempt of the job, oldest first."""
        answer = await self._connection.json("GET", f"/v1/jobs/{quote(job, safe='')}/attempts")
        return [AttemptView.model_validate(attempt) for attempt in answer["data"]]

    async def list(self, limit: int | None = None, **filters: str | Sequence[str] | bool | None) -> AsyncGenerator[Job]:
        """Yields jobs, newest first, page after page as they are asked for.

        Filters as in `GET /v1/jobs`: state, task, benchmark, row, tag, owner, project, suite, since, search.
        """
        async for entry in self._connection.pages("/v1/jobs", limit, PAGE, filters):
            yield await self._job(entry)


def _file_name(job: Job) -> str:
    said = f"{job.task}-{job.row}-seed{job.seed}"
    letters = re.sub(r"[^\w.]+", "-", said).strip("-.")[:100]
    return f"{letters}.safetensors"
