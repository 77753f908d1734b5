"""A started stack as the end-to-end tests see it: its address, its processes, its jobs' histories."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from service.client import Client, Job, JobEvent, JobRequest, NoService
from service.local.identity import Identity, alive, identify
from service.local.record import Folder, Record

T = TypeVar("T")
WITHIN_S = 300.0


class Stack:
    """The parts of one `pace up`. `rest` speaks plain REST with the stack's own key."""

    def __init__(self, folder: Folder) -> None:
        said = folder.read_client()
        self.folder = folder
        self.url = said["url"]
        self.client = Client(self.url, said["key"])
        self.rest = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {said['key']}"}, timeout=30)

    def close(self) -> None:
        self.client.close()
        self.rest.close()

    def process(self, part: str) -> Identity:
        """The process of a part of the stack that runs now."""
        return until(lambda: self._record().parts[part].process, f"{part} runs")

    def submit(self, spec: dict[str, Any], **fields: Any) -> "Watched":
        """Queues a job by the client."""
        return Watched(self, self.client.jobs.submit(JobRequest(spec=spec, **fields)).id)

    def _record(self) -> Record:
        record = self.folder.read()
        assert record is not None
        return record


@dataclass
class Watched:
    """A job whose events are waited for."""

    stack: Stack
    id: str

    def events(self) -> Iterator[JobEvent]:
        """Its history as it grows, to its end, through restarts of the API."""
        after, until_s = 0, time.monotonic() + WITHIN_S
        while time.monotonic() < until_s:
            try:
                for event in self.stack.client.jobs.events(self.id, after):
                    after = event.number
                    yield event
                return
            except NoService:
                continue
        raise AssertionError(f"{self.id} has not ended after {WITHIN_S:g} s")

    def first(self, wanted: Callable[[JobEvent], bool]) -> JobEvent:
        """Waits for the event; fails when the job ends without it."""
        seen: list[str] = []
        for event in self.events():
            if wanted(event):
                return event
            seen.append(f"{event.type}:{event.data}")
        raise AssertionError(f"{self.id} ended without the event; its last ones: {seen[-4:]}")

    def ended(self) -> "History":
        """The whole history, once the job has ended."""
        events = list(self.events())
        return History(self.now(), events)

    def now(self) -> Job:
        return self.stack.client.jobs.get(self.id)

    def worker(self, attempt: int = 1) -> Identity:
        """The process that runs an attempt, as its first event tells."""
        greeting = self.first(lambda event: event.type == "log" and event.attempt == attempt).data["message"]
        return worker_of(greeting)


@dataclass
class History:
    """An ended job and all that was said of it."""

    job: Job
    events: list[JobEvent]

    def of(self, type: str, attempt: int | None = None) -> list[JobEvent]:
        return [event for event in self.events if event.type == type and attempt in (None, event.attempt)]

    def steps(self, attempt: int) -> list[int]:
        """The training steps that an attempt told of."""
        return [step for event in self.of("progress", attempt) if (step := step_of(event))]

    @property
    def states(self) -> list[str]:
        return [event.data["state"] for event in self.of("state")]

    def check_order(self) -> None:
        """No number is missing, and the job ended exactly once, at its last event."""
        assert [event.number for event in self.events] == list(range(1, len(self.events) + 1))
        for attempt in range(1, self.job.attempt + 1):
            said = [event.seq for event in self.events if event.attempt == attempt and event.seq is not None]
            assert said == list(range(1, len(said) + 1))
        assert [state for state in self.states if state in ("succeeded", "failed", "cancelled")] == [self.job.state]
        assert self.events[-1].data["state"] == self.job.state

    @property
    def adapter_sha256(self) -> str:
        assert self.job.result is not None
        assert self.job.result.adapter is not None
        return self.job.result.adapter.sha256


def step_of(event: JobEvent) -> int:
    """The training step that a progress event tells; 0 for all else."""
    return event.data.get("step", 0) if event.type == "progress" else 0


def worker_of(greeting: str) -> Identity:
    """The process that a run's first log line names."""
    pid = int(greeting.partition("(pid ")[2].partition(",")[0])
    process = identify(pid)
    assert process is not None, f"process {pid} is gone"
    return process


def kill(process: Identity) -> None:
    """SIGKILL; returns when the process is gone."""
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not alive(process), "the process is gone")


def until(so: Callable[[], T | None], what: str, within_s: float = WITHIN_S) -> T:
    """Asks again and again what tells of itself in no other way: processes and MLflow."""
    deadline = time.monotonic() + within_s
    while not (found := so()):
        assert time.monotonic() < deadline, f"not so after {within_s:g} s: {what}"
        time.sleep(0.05)
    return found
