"""`kill -9` in the middle of an epoch: the job ends once, with the adapter it would have had anyway."""

from typing import Any

import pytest

from service.client import JobEvent
from service.local.identity import Identity, alive
from tests.stack import History, Stack, Watched, kill, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
STEPS_AN_EPOCH = 16


def in_mid_epoch(event: JobEvent) -> bool:
    """A checkpoint far from an epoch's end: some steps are done before the kill arrives."""
    return event.type == "checkpoint" and 2 < event.data["step"] % STEPS_AN_EPOCH < 10


def killed_in_mid_epoch(job: Watched, process: Identity) -> JobEvent:
    """Kills the process while the job runs; the event at which it did."""
    at = job.first(in_mid_epoch)
    assert job.now().state == "running"
    kill(process)
    return at


def check(history: History, undisturbed: History, attempts: int) -> None:
    history.check_order()
    assert history.job.state == "succeeded", history.job.message
    assert history.job.attempt == attempts
    assert history.adapter_sha256 == undisturbed.adapter_sha256
    assert history.job.result.metrics == undisturbed.job.result.metrics


def test_the_worker_is_killed_and_the_next_attempt_goes_on_from_the_checkpoint(
    stack: Stack, long: dict[str, Any], undisturbed: History
) -> None:
    job = stack.submit(long, name="worker killed")
    worker = job.worker()
    at = killed_in_mid_epoch(job, worker)
    history = job.ended()
    check(history, undisturbed, attempts=2)
    assert [event.data["reason"] for event in history.of("end")] == ["lost", "succeeded"]
    assert history.steps(attempt=2)[0] > 5, "the second attempt did not begin anew"
    assert job.worker(attempt=2) != worker
    assert history.of("end", attempt=1)[0].at > at.at


def test_the_dispatcher_is_killed_and_the_next_one_adopts_the_run(
    stack: Stack, long: dict[str, Any], undisturbed: History
) -> None:
    job = stack.submit(long, name="dispatcher killed")
    worker, dispatcher = job.worker(), stack.process("dispatcher")
    killed_in_mid_epoch(job, dispatcher)
    check(job.ended(), undisturbed, attempts=1)
    assert alive(worker), "training went on in the same process"
    assert stack.process("dispatcher") != dispatcher


def test_the_api_is_killed_and_nothing_that_happened_meanwhile_is_lost(
    stack: Stack, long: dict[str, Any], undisturbed: History
) -> None:
    job = stack.submit(long, name="API killed")
    worker, api = job.worker(), stack.process("api")
    killed_in_mid_epoch(job, api)
    check(job.ended(), undisturbed, attempts=1)
    assert alive(worker)
    assert stack.process("api") != api


def test_a_killed_worker_is_replaced(stack: Stack, quick: dict[str, Any]) -> None:
    """Last, since a new worker takes seconds to warm up: both slots take jobs again."""
    jobs = [stack.submit(quick | {"seed": seed}) for seed in range(4)]
    assert {job.ended().job.state for job in jobs} == {"succeeded"}
    until(lambda: stack.rest.get("/readyz").json()["parts"]["dispatcher"]["status"] == "ok", "the dispatcher is there")
