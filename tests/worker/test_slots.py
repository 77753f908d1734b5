"""Slots and their actors on a real Ray, whose node claims to have a GPU. The actors warm up as the tests say."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import ray

from pace_core.spec.leases import (
    Heartbeat,
    Holding,
    Join,
    Joined,
    LeaseRequest,
    LeaseResponse,
    Report,
    ReportResponse,
)
from worker import slots
from worker.dispatcher import Dispatcher
from worker.outbox import Outbox
from worker.settings import Settings
from worker.slots import Place

NAMESPACE, OTHERS = "slots-of-this-test", "slots-of-others"
ROOTS: dict[str, list[str]] = {}


class Stand:
    """An actor that is warm at once."""

    def __init__(self, namespace: str, slot: str, *given: Any) -> None:
        self._slot = slot
        self._made_as = given[-1] if given else "otherwise"

    def current(self) -> dict[str, Any]:
        return {"slot": self._slot, "job": None, "attempt": 0, "made_as": self._made_as, "memory_bytes": 1 << 40}

    def prove(self, *_: str) -> str:
        return "this node proves nothing"


class Running(Stand):
    """An actor in which an attempt runs until it is told to finish."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._outbox = Outbox()
        self._outbox.put("stage", {"name": "train"})

    def current(self) -> dict[str, Any]:
        return super().current() | {"job": "job_1", "attempt": 2, "token": "t"}

    def exchange(self, acknowledged: int, directive: str, wait_s: float) -> dict[str, Any]:
        events = self._outbox.take(acknowledged, wait_s)
        return {"events": [event.model_dump(mode="json") for event in events], "ended": self._outbox.closed}

    def finish(self) -> None:
        self._outbox.put("end", {"reason": "succeeded", "message": "", "result": None})


class Slow(Stand):
    """An actor that does not come to the end of its warm-up."""

    def __init__(self, *given: Any) -> None:
        time.sleep(600)
        super().__init__(*given)


class Hanging(Stand):
    """An actor that is warm, and hangs as it begins."""

    def start(self, lease: dict[str, Any]) -> None:
        time.sleep(600)


def remote(stand: type[Stand]) -> Any:
    return ray.remote(max_restarts=0, concurrency_groups={"exchange": 2, "current": 1})(stand)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """The one slot of the cluster."""
    ray.init(
        "local",
        num_cpus=1,
        num_gpus=1,
        resources={"accelerator_type:A100": 1},
        labels={"room": "3"},
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80_000_000,
        _system_config={"health_check_initial_delay_ms": 60_000},
    )
    (found,) = slots.places(slots_per_cpu_node=7)
    yield found
    ray.shutdown()


@pytest.fixture(autouse=True)
def no_actors(place: Place) -> Iterator[None]:
    yield
    for actor in named():
        ray.kill(ray.get_actor(actor["name"], namespace=actor["namespace"]))


def named() -> list[dict[str, str]]:
    return ray.util.list_named_actors(all_namespaces=True)


async def gone(name: str, namespace: str = NAMESPACE) -> None:
    """Returns when there is no actor of that name."""
    async with asyncio.timeout(30):
        while {"name": name, "namespace": namespace} in named():
            await asyncio.sleep(0.05)


def test_a_node_with_a_gpu_is_one_slot_labelled_with_the_accelerator_that_ray_found(place: Place) -> None:
    assert place.device == "cuda"
    assert place.labels == {"gpu": "A100", "room": "3"}
    assert place.threads == 1


async def test_a_warm_up_that_takes_too_long_leaves_no_actor_that_holds_the_slot(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "WARM_UP_S", 1.0)
    monkeypatch.setattr(slots, "Actor", remote(Slow))
    with pytest.raises(TimeoutError):
        await slots.create(place, NAMESPACE, ROOTS)
    await gone(place.name)
    monkeypatch.setattr(slots, "WARM_UP_S", 60.0)
    monkeypatch.setattr(slots, "Actor", remote(Stand))
    actor = await slots.create(place, NAMESPACE, ROOTS)
    assert (await actor.current.remote())["slot"] == place.name, "its GPU is free for the next one"


async def test_an_actor_that_hangs_as_it_is_given_a_lease_is_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "ANSWER_S", 0.5)
    monkeypatch.setattr(slots, "Actor", remote(Hanging))
    actor = await slots.create(place, NAMESPACE, ROOTS)
    async with asyncio.timeout(30):
        with pytest.raises(TimeoutError):
            await slots.start(actor, {})
    slots.discard(actor)
    await gone(place.name)


async def test_an_actor_of_the_slot_that_nobody_adopted_makes_room_for_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "Actor", remote(Stand))
    first = await slots.create(place, NAMESPACE, ROOTS)
    second = await slots.create(place, NAMESPACE, ROOTS)
    assert (await second.current.remote())["slot"] == place.name
    with pytest.raises(ray.exceptions.RayActorError):
        await first.current.remote()


async def test_actors_without_a_place_are_strays_and_those_of_another_installation_are_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = remote(Stand)
    for name, namespace in ((place.name, NAMESPACE), ("a-slot-of-before", NAMESPACE), ("theirs", OTHERS)):
        stand.options(name=name, namespace=namespace, lifetime="detached", num_cpus=0).remote(namespace, name)
    assert slots.strays(NAMESPACE, [place]) == ["a-slot-of-before"]
    slots.end_named("a-slot-of-before", NAMESPACE)
    await gone("a-slot-of-before")
    slots.end_named("a-slot-of-before", NAMESPACE)  # and again: it is gone already
    assert {actor["name"] for actor in named()} == {place.name, "theirs"}


class Service:
    """Takes a dispatcher in, gives it no work, and stores what its runs say."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[LeaseRequest] = asyncio.Queue()
        self.stored: list[tuple[str, str]] = []
        self.ended = asyncio.Event()

    async def join(self, asked: Join) -> Joined:
        return Joined(cluster="local", namespace=NAMESPACE, proof="/storage/proofs/x")

    async def leave(self, dispatcher: str) -> None: ...

    async def heartbeat(self, heartbeat: Heartbeat) -> None: ...

    async def lease(self, request: LeaseRequest) -> LeaseResponse:
        self.requests.put_nowait(request)
        await asyncio.sleep(request.wait_s)
        return LeaseResponse(leases=[], lost=[], lease_s=60)

    async def report(self, job: str, attempt: int, report: Report) -> ReportResponse:
        self.stored += [(f"{job}/{attempt}", event.type) for event in report.events]
        if report.events and report.events[-1].type == "end":
            self.ended.set()
        return ReportResponse(acknowledged=len(self.stored), directive="continue")


async def test_with_fewer_slots_than_before_what_runs_comes_to_its_end_and_idle_actors_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "Actor", remote(Stand))
    busy, idle = (place.name[:-1] + number for number in "12")
    run = remote(Running).options(name=busy, namespace=NAMESPACE, lifetime="detached", num_cpus=0).remote("", busy)
    remote(Stand).options(name=idle, namespace=NAMESPACE, lifetime="detached", num_cpus=0).remote("", idle)
    service = Service()
    dispatching = asyncio.create_task(Dispatcher(service, Settings(slots=1)).run())
    async with asyncio.timeout(60):
        first = await service.requests.get()
        assert first.holding == [Holding(job="job_1", attempt=2, slot=busy)], "nobody is told that it is lost"
        await gone(idle)
        assert busy in {actor["name"] for actor in named()}
        await run.finish.remote()
        await service.ended.wait()
        await gone(busy)
    assert service.stored == [("job_1/2", "stage"), ("job_1/2", "end")]
    dispatching.cancel()
    with suppress(asyncio.CancelledError):
        await dispatching


@pytest.mark.parametrize(("before", "now", "kept"), [(2.0, 2.0, True), (2.0, 1.0, False)])
async def test_an_idle_actor_whose_share_of_the_node_has_changed_makes_room(
    place: Place, monkeypatch: pytest.MonkeyPatch, before: float, now: float, kept: bool
) -> None:
    """Otherwise the larger ones of before would leave no CPU for more slots than before."""
    monkeypatch.setattr(slots, "Actor", remote(Stand))
    was = slots.made_as(replace(place, cpus=before), ROOTS)
    made = remote(Stand).options(name=place.name, namespace=NAMESPACE, lifetime="detached", num_cpus=0)
    made.remote("", place.name, "cpu", 1, ROOTS, was)
    found = await slots.adopt(place.name, NAMESPACE, slots.made_as(replace(place, cpus=now), ROOTS))
    assert (found is not None) == kept
    if not kept:
        await gone(place.name)


@pytest.mark.parametrize("roots", [{"data": ["/data"]}, {"data": ["/data", "/more"]}])
def test_an_actor_that_may_read_elsewhere_was_made_otherwise(place: Place, roots: dict[str, list[str]]) -> None:
    assert (slots.made_as(place, roots) == slots.made_as(place, {"data": ["/data"]})) == (roots["data"] == ["/data"])
