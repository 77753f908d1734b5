"""One seed: jobs are submitted, things happen while they run, and in the end everything is looked at."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from service.client import Client, Job, JobEvent, NoService, ProblemError
from tests.chaos.checks import Log, check_job, check_mlflow, failed_for_room, kind_of
from tests.chaos.faults import Ground, begin
from tests.stack import History, Stack

T = TypeVar("T")
WITHIN_S = 900.0
"""In which all jobs of a seed must end, and every part be there again."""
ALIKE = 25
"""Jobs of so many different seeds; more jobs repeat them."""


@dataclass
class Outcome:
    """Outcome of a seed."""

    seed: int
    faults: list[str] = field(default_factory=list[str])
    jobs: int = 0
    for_room: int = 0
    """Jobs that failed since the disk was full, and were retried."""
    attempts: int = 0
    events: int = 0
    seconds: float = 0.0
    trouble: list[str] = field(default_factory=list[str])

    @property
    def line(self) -> str:
        """A row of the table."""
        broken = "; ".join(self.trouble[:5]) or "nothing"
        cells = (self.seed, ", ".join(self.faults), self.jobs, self.for_room, self.attempts, self.events)
        return f"| {' | '.join(map(str, cells))} | {self.seconds:.0f} | {broken} |"


def patiently(call: Callable[[], T]) -> T:
    """Returns the answer, however long the service is away. What it refuses for good is raised."""
    end = time.monotonic() + WITHIN_S
    while True:
        try:
            return call()
        except (NoService, httpx2.TransportError) as error:
            trouble: Exception = error
        except ProblemError as error:
            if error.status < 500 and error.status != 429:
                raise
            trouble = error
        if time.monotonic() > end:
            raise AssertionError(f"the service is not back after {WITHIN_S:g} s: {trouble}")
        time.sleep(0.3)


class Watch:
    """A seed's jobs from submission to end, seen through the log of all jobs."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.tag = f"chaos={name}"
        self.admin = Client(stack.url, stack.folder.read_keys()["admin"])
        self.log = Log(patiently(self._last))
        self.ids: list[str] = []
        self.retried: dict[str, str] = {}

    def _last(self) -> int:
        position = self.admin.worker.cursor("mlflow")
        while page := self.admin.worker.events(position, 5000):
            position = page[-1].position
        return position

    def submit(self, spec: dict[str, Any], key: str) -> None:
        """Submits a job, once however often it is said."""
        name, _, value = self.tag.partition("=")
        said = {"spec": spec, "max_attempts": 100, "tags": {name: value}}
        self.ids.append(patiently(lambda: self._post("/v1/jobs", said, f"{self.tag}/{key}"))["id"])

    def _post(self, path: str, body: Any, key: str) -> dict[str, Any]:
        answer = self.stack.rest.post(path, json=body, headers={"Idempotency-Key": key})
        if answer.status_code in (429, *range(500, 600)):
            raise NoService(answer.text)
        assert answer.is_success, answer.text
        return answer.json()

    def read(self) -> None:
        """Reads on in the log; jobs that failed for want of room are retried."""
        self.log.read(patiently(lambda: self.admin.worker.events(self.log.position, 5000)))
        for job in [job for job in self.ids if job in self.log.ended and job not in self.retried]:
            if self.log.of_jobs[job][-1].data.get("reason") == "disk_full":
                self.retried[job] = patiently(lambda job=job: self._retry(job))
                self.ids.append(self.retried[job])

    def _retry(self, job: str) -> str:
        return self.stack.client.jobs.retry(job).id

    @property
    def left(self) -> list[str]:
        return [job for job in self.ids if job not in self.log.ended]

    def history(self, job: str) -> History:
        return patiently(lambda: History(self._job(job), self._events(job)))

    def _job(self, job: str) -> Job:
        return self.stack.client.jobs.get(job)

    def _events(self, job: str) -> list[JobEvent]:
        return list(self.stack.client.jobs.events(job, follow=False))


def undisturbed(stack: Stack, spec: dict[str, Any], different: int = ALIKE) -> dict[str, str]:
    """Returns the checksum of each kind of job's adapter where nothing happens."""
    watch = Watch(stack, "none")
    for seed in range(different):
        watch.submit(spec | {"seed": seed}, str(seed))
    _until(lambda: (watch.read(), not watch.left)[1], "the undisturbed jobs have ended")
    _until(lambda: not _not_ready(stack), "every part is there")
    histories = [watch.history(job) for job in watch.ids]
    assert all(history.job.state == "succeeded" for history in histories), [h.job.message for h in histories]
    return {kind_of(history.job): history.adapter_sha256 for history in histories}


def run_seed(
    stack: Stack, ground: Ground, spec: dict[str, Any], adapters: dict[str, str], seed: int, jobs: int, faults: int
) -> Outcome:
    """Runs one seed to its end and looks at everything."""
    outcome, began = Outcome(seed), time.monotonic()
    watch = Watch(stack, str(seed))
    with ThreadPoolExecutor() as pool:  # whoever submits or reads may have to wait for the API; what happens does not
        submitting = pool.submit(
            lambda: [watch.submit(spec | {"seed": number % len(adapters)}, str(number)) for number in range(jobs)]
        )
        happening = pool.submit(_happen, ground, random.Random(seed), faults, outcome)
        while not (submitting.done() and happening.done()) or watch.left:
            watch.read()
            time.sleep(0.3)
            if time.monotonic() - began > WITHIN_S:
                outcome.trouble.append(f"{len(watch.left)} of {len(watch.ids)} jobs have not ended in {WITHIN_S:g} s")
                break
        submitting.result()
        happening.result()
    _look(watch, ground, adapters, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _happen(ground: Ground, draw: random.Random, faults: int, outcome: Outcome) -> None:
    """Lets one fault follow the other, while those before may still last."""
    lasting: list[threading.Thread] = []
    for kind in draw.sample(ground.kinds * 2, faults):
        time.sleep(draw.uniform(1.0, 8.0))
        outcome.faults.append(kind)
        lasting.append(begin(ground, kind, draw))
    for fault in lasting:
        fault.join()


def _look(watch: Watch, ground: Ground, adapters: dict[str, str], outcome: Outcome) -> None:
    stack, trouble = watch.stack, outcome.trouble
    stored = {job.id for job in patiently(lambda: watch.stack.client.jobs.list(tag=[watch.tag]))}
    if stored != set(watch.ids):
        trouble.append(f"{len(stored - set(watch.ids))} jobs nobody asked for, {len(set(watch.ids) - stored)} are gone")
    _until(lambda: (watch.read(), _all_told(watch))[1], "MLflow has all")
    histories = [watch.history(job) for job in watch.ids]
    for history in histories:
        trouble += check_job(history, watch.log, adapters, ground.folder.storage)
    trouble += [f"the log of all jobs: {what}" for what in watch.log.trouble]
    try:
        _until(lambda: not _not_ready(stack), "every part is there again")
    except AssertionError:
        trouble.append(f"not there again: {_not_ready(stack)}")
    trouble += check_mlflow(ground.folder, histories)
    outcome.jobs = len(watch.ids)
    outcome.for_room = sum(failed_for_room(history.job) for history in histories)
    outcome.attempts = sum(history.job.attempt for history in histories)
    outcome.events = sum(len(history.events) for history in histories)


def _all_told(watch: Watch) -> bool:
    return patiently(lambda: watch.admin.worker.cursor("mlflow")) >= watch.log.position


def _not_ready(stack: Stack) -> str:
    """Names what is not there, and why."""
    parts = patiently(lambda: stack.rest.get("/readyz").json())["parts"]
    return ", ".join(f"{name} ({part['detail']})" for name, part in parts.items() if part["status"] != "ok")


def _until(so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WITHIN_S
    while not so():
        assert time.monotonic() < end, f"not so after {WITHIN_S:g} s: {what}"
        time.sleep(0.5)
