"""Slots and their actors on a real Ray, whose node claims to have a GPU. The actors warm up as the tests say."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from worker import slots
from worker.slots import Place

NAMESPACE, OTHERS = "slots-of-this-test", "slots-of-others"
ROOTS: dict[str, list[str]] = {}


class Stand:
    """An actor that is warm at once."""

    def __init__(self, namespace: str, slot: str, *_: Any) -> None:
        self._slot = slot

    def current(self) -> dict[str, Any]:
        return {"slot": self._slot}


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
    return ray.remote(max_restarts=0, concurrency_groups={"current": 1})(stand)


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
    assert await actor.current.remote() == {"slot": place.name}, "its GPU is free for the next one"


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
    assert await second.current.remote() == {"slot": place.name}
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
