"""Between actor and service: what becomes of an attempt when either of them fails. Both are stand-ins here; the
end-to-end tests kill the real ones."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from pace_core.spec import Event
from pace_core.spec.leases import Holding, Report, ReportResponse
from service.client import LeaseFenced, NoService, ProblemError
from worker import patience, relay
from worker.outbox import Outbox
from worker.relay import Relay

HOLDING = Holding(job="job_1", attempt=1, slot="s")


class Actor:
    """Answers as a slot's actor does; `during` is called at every exchange."""

    def __init__(self, during: Callable[["Actor"], None] = lambda actor: None) -> None:
        self.outbox = Outbox()
        self.asked: list[str] = []
        self._during = during
        self.exchange = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._exchange))

    async def _exchange(self, acknowledged: int, directive: str, wait_s: float) -> dict[str, Any]:
        self.asked.append(directive)
        self._during(self)
        events = self.outbox.take(acknowledged, 0)
        return {"events": [event.model_dump(mode="json") for event in events], "ended": self.outbox.closed}


class Service:
    """Stores events as the service does: once each, in order."""

    def __init__(self) -> None:
        self.stored: list[Event] = []
        self.directive: str = "continue"
        self.failures: list[Exception] = []
        self.sizes: list[int] = []

    async def report(self, job: str, attempt: int, report: Report) -> ReportResponse:
        if self.failures:
            raise self.failures.pop(0)
        self.sizes.append(len(report.model_dump_json()))
        for event in report.events:
            if event.seq == len(self.stored) + 1:
                self.stored.append(event)
        return ReportResponse(acknowledged=len(self.stored), directive=self.directive)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BETWEEN_REPORTS_S", 0.0)
    monkeypatch.setattr(patience, "LONGEST_WAIT_S", 0.0)


def relay_of(service: Service, actor: Actor) -> Relay:
    return Relay(service, actor, HOLDING, "t")


def said(service: Service) -> list[tuple[int, str]]:
    return [(event.seq, event.type.value) for event in service.stored]


def end(actor: Actor, reason: str = "succeeded") -> None:
    actor.outbox.put("end", {"reason": reason, "message": "", "result": None})


async def test_every_event_reaches_the_service_and_the_actor_is_idle_at_the_end() -> None:
    actor, service = Actor(), Service()
    for number in range(3 * relay.EVENTS_A_REPORT // 2):
        actor.outbox.put("metrics", {"epoch": number})
    end(actor)
    assert await relay_of(service, actor).until_end() == "succeeded"
    assert [event.seq for event in service.stored] == list(range(1, 3 * relay.EVENTS_A_REPORT // 2 + 2))
    assert actor.outbox.empty


async def test_a_service_that_is_away_loses_nothing() -> None:
    actor, service = Actor(), Service()
    actor.outbox.put("stage", {"name": "train"})
    end(actor)
    service.failures = [NoService("away")] * 5
    assert await relay_of(service, actor).until_end() == "succeeded"
    assert said(service) == [(1, "stage"), (2, "end")]


async def test_an_actor_that_dies_has_its_attempt_ended_as_lost_under_the_next_number() -> None:
    def die(actor: Actor) -> None:
        if service.stored:
            raise ActorDiedError

    actor, service = Actor(die), Service()
    actor.outbox.put("stage", {"name": "train"})
    assert await relay_of(service, actor).until_end() == "lost"
    assert said(service) == [(1, "stage"), (2, "end")]
    assert service.stored[-1].data["reason"] == "lost"


async def test_an_adopted_attempt_goes_on_where_the_service_has_it() -> None:
    actor, service = Actor(), Service()
    for epoch in range(3):
        actor.outbox.put("metrics", {"epoch": epoch})
    service.stored = actor.outbox.take(0, 0)[:2]
    end(actor)
    assert await relay_of(service, actor).until_end() == "succeeded"
    assert [event.seq for event in service.stored] == [1, 2, 3, 4]


@pytest.mark.parametrize("directive", ["pause", "stop"])
async def test_a_directive_reaches_the_run(directive: str) -> None:
    def obey(actor: Actor) -> None:
        if actor.asked[-1] == directive:
            end(actor, "paused" if directive == "pause" else "cancelled")

    actor, service = Actor(obey), Service()
    service.directive = directive
    assert await relay_of(service, actor).until_end() in ("paused", "cancelled")


async def test_a_run_that_does_not_obey_a_stop_is_ended_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "STOP_S", 0.0)
    actor, service = Actor(), Service()
    service.directive = "stop"
    assert await relay_of(service, actor).until_end() == "lost", "the caller replaces the actor"
    assert [event.data["reason"] for event in service.stored] == ["cancelled"]


async def test_a_fenced_run_is_stopped_and_says_nothing_more() -> None:
    def obey(actor: Actor) -> None:
        actor.outbox.put("metrics", {"epoch": 1})
        if actor.asked[-1] == "stop":
            end(actor, "cancelled")

    actor, service = Actor(obey), Service()
    service.failures = [LeaseFenced(409, "x/lease-fenced", "attempt 2 is the current one", [])]
    assert await relay_of(service, actor).until_end() == "fenced"
    assert service.stored == []
    assert actor.outbox.empty


async def test_a_fenced_run_that_does_not_stop_costs_its_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "FENCED_STOP_S", 0.05)
    actor, service = Actor(), Service()
    service.failures = [LeaseFenced(409, "x/lease-fenced", "attempt 2 is the current one", [])]
    assert await relay_of(service, actor).until_end() == "lost"


REFUSALS = [
    ProblemError(422, "x/invalid", "event 1 cannot be read", []),
    ProblemError(413, "x/too-large", "the report is too large", []),
    UnicodeEncodeError("utf-8", "Pl\udce4tze", 2, 3, "surrogates not allowed"),
    ValueError("Out of range float values are not JSON compliant"),
    RecursionError("maximum recursion depth exceeded"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda e: type(e).__name__)
async def test_what_cannot_be_passed_on_ends_its_attempt_and_names_why(refusal: Exception) -> None:
    actor, service = Actor(), Service()
    actor.outbox.put("stage", {"name": "train"})
    service.failures = [NoService("away"), refusal]
    assert await relay_of(service, actor).until_end() in ("crashed", "lost"), "the caller replaces the actor"
    (end,) = service.stored
    assert end.data["reason"] == "crashed"
    assert "could not be passed on" in end.data["message"]


async def test_an_actor_whose_words_cannot_be_read_has_its_attempt_ended() -> None:
    def fail(actor: Actor) -> None:
        raise RayTaskError("exchange", "UnicodeEncodeError: Pl\udce4tze", UnicodeError())

    actor, service = Actor(fail), Service()
    assert await relay_of(service, actor).until_end() in ("crashed", "lost")
    assert [event.data["reason"] for event in service.stored] == ["crashed"]


async def test_a_service_that_stumbles_over_a_report_each_time_does_not_keep_the_slot() -> None:
    actor, service = Actor(), Service()
    actor.outbox.put("stage", {"name": "train"})
    service.failures = [ProblemError(500, "x/internal", "a bug", [])] * (patience.MOST_STUMBLES + 1)
    service.failures.insert(0, NoService("away"))
    assert await relay_of(service, actor).until_end() in ("crashed", "lost")
    assert [event.data["reason"] for event in service.stored] == ["crashed"]


async def test_a_job_that_was_deleted_is_stopped_like_a_fenced_one() -> None:
    def obey(actor: Actor) -> None:
        if actor.asked[-1] == "stop":
            end(actor, "cancelled")

    actor, service = Actor(obey), Service()
    service.failures = [ProblemError(404, "x/not-found", "no such job", [])]
    assert await relay_of(service, actor).until_end() == "fenced"
    assert service.stored == []


async def test_many_large_events_go_up_in_reports_that_a_request_holds() -> None:
    actor, service = Actor(), Service()
    for _ in range(30):
        actor.outbox.put("log", {"level": "info", "message": [f"{'x' * 9_000}" for _ in range(20)]})
    end(actor)
    assert await relay_of(service, actor).until_end() == "succeeded"
    assert len(service.stored) == 31
    assert max(service.sizes) < 2 * relay.BYTES_A_REPORT
