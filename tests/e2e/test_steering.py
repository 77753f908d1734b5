"""Cancel, pause, resume: what a user asks of a running job happens after its step."""

from typing import Any

import pytest

from service.client import JobEvent
from tests.e2e.conftest import BATCH_SIZE
from tests.stack import History, Stack, step_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def prompt_s(asked: JobEvent) -> float:
    """A second after the end of the step under way, and room for what else the machine does at the moment."""
    return 2.0 + 4 * BATCH_SIZE / asked.data["images_per_s"]


def test_a_running_job_is_cancelled_and_its_worker_takes_the_next(
    stack: Stack, long: dict[str, Any], quick: dict[str, Any]
) -> None:
    job = stack.submit(long, name="cancelled")
    worker = job.worker()
    asked = job.first(lambda event: step_of(event) > 5)
    stack.client.jobs.cancel(job.id)
    history = job.ended()
    history.check_order()
    assert history.job.state == "cancelled"
    assert (history.of("end")[0].at - asked.at).total_seconds() < prompt_s(asked)
    assert history.steps(attempt=1)[-1] < 48, "it did not run to its end"
    after = [stack.submit(quick | {"seed": seed}) for seed in (1, 2)]
    assert worker in [job.worker() for job in after]
    assert [job.ended().job.state for job in after] == ["succeeded", "succeeded"]


def test_a_paused_job_gives_its_slot_back_and_goes_on_to_the_same_adapter(
    stack: Stack, long: dict[str, Any], undisturbed: History
) -> None:
    job = stack.submit(long, name="paused", max_attempts=1)
    asked = job.first(lambda event: step_of(event) > 5)
    stack.client.jobs.pause(job.id)
    paused = job.first(lambda event: event.type == "state" and event.data["state"] == "paused")
    assert (paused.at - asked.at).total_seconds() < prompt_s(asked)
    assert not job.now().state.ended
    stack.client.jobs.resume(job.id)
    history = job.ended()
    history.check_order()
    assert history.job.state == "succeeded", "a pause uses up no attempt"
    assert history.adapter_sha256 == undisturbed.adapter_sha256
    assert history.steps(attempt=2)[0] > 5
