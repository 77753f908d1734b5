"""The slots of a Ray cluster and the actors behind them."""

import asyncio
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pace_core.spec.leases import copy_of
from worker.actor import Actor
from worker.code_version import code_version

SHARE = 0.9  # of a node's CPUs; the rest is for the drivers of studies, which compute nothing
_ACCELERATOR = "accelerator_type:"
WARM_UP_S = 300.0
ANSWER_S = 30.0
SOON_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Place of a slot. Its name is its actor's name, the same after a restart of the dispatcher."""

    name: str
    node_id: str
    node: str
    device: Literal["cpu", "cuda"]
    cpus: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """What Ray knows of the node: its accelerator as `gpu`, and the labels that it was started with."""

    @property
    def threads(self) -> int:
        """The slot's share of the node's cores, at least one."""
        return max(1, int(self.cpus))

    def is_beside(self, slot: str) -> bool:
        """Tells whether that slot is, or was, of the same node."""
        return slot.rpartition("-")[0] == self.name.rpartition("-")[0]


@dataclass(frozen=True)
class Adopted:
    """An actor found in its slot, and the attempt that it holds (job None: it is idle)."""

    actor: ActorHandle
    job: str | None
    attempt: int
    token: str
    """Of the attempt's lease."""
    fit: bool
    """Whether it may take another lease: it was made as one would be made now."""


def places(slots_per_cpu_node: int | None) -> list[Place]:
    """Lists every slot of the cluster as it is now: one per GPU, on a node without GPUs one per CPU core."""
    found: list[Place] = []
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        resources: dict[str, float] = node["Resources"]
        gpus, cpus = int(resources.get("GPU", 0)), resources.get("CPU", 0)
        count = gpus or (slots_per_cpu_node or int(cpus) if cpus else 0)
        share = math.floor(100 * SHARE * cpus / count) / 100 if count else 0
        host, node_id, labels = node["NodeManagerHostname"], node["NodeID"], _labels(node)
        found += [
            Place(f"{host}-{node_id[:6]}-{i}", node_id, host, "cuda" if gpus else "cpu", share, labels)
            for i in range(count)
        ]
    return found


def _labels(node: Mapping[str, Any]) -> dict[str, str]:
    """The node's labels (`ray start --labels`), without Ray's own; `gpu` is the accelerator that Ray found."""
    kinds = [name.removeprefix(_ACCELERATOR) for name in node["Resources"] if name.startswith(_ACCELERATOR)]
    own = {name: value for name, value in (node.get("Labels") or {}).items() if not name.startswith("ray.io/")}
    return ({"gpu": kinds[0]} if kinds else {}) | own


def alive(place: Place) -> bool:
    """Tells whether the slot's node is still part of the cluster."""
    return any(node["NodeID"] == place.node_id and node["Alive"] for node in ray.nodes())


async def adopt(name: str, namespace: str, made_as: str) -> Adopted | None:
    """Returns the actor that an earlier dispatcher left under that name; None where none is of use.

    An idle actor that was made otherwise than one would be made now is of none, nor one that does not answer: it is
    killed.
    """
    try:
        actor = ray.get_actor(name, namespace=namespace)
    except ValueError:
        return None
    try:
        current = await asyncio.wait_for(_current(actor), ANSWER_S)
    except (RayError, TimeoutError):
        log.warning("the actor of %s does not answer; it is ended", name)
        return discard(actor)
    fit = current.get("made_as") == made_as
    if current["job"] is None and not fit:
        log.info("the actor of %s runs other code, or has another share of its node; it is ended", name)
        return discard(actor)
    return Adopted(actor, current["job"], current["attempt"], current.get("token", ""), fit)


def made_as(place: Place, roots: Mapping[str, Sequence[str]]) -> str:
    """Returns what an actor that is made now for that place has in common with any that it could be used instead of."""
    return json.dumps([code_version(), place.cpus, place.device, roots], sort_keys=True)


async def create(place: Place, namespace: str, roots: dict[str, list[str]]) -> ActorHandle:
    """Starts a new, warm actor in the slot, which reads specs' files below those roots.

    Raises RayActorError or TimeoutError where it does not start; it is killed then, so that none is left in the slot
    of which nobody knows.
    """
    options: dict[str, Any] = {
        "name": place.name,
        "namespace": namespace,
        "lifetime": "detached",
        "num_cpus": place.cpus,
        "num_gpus": 1 if place.device == "cuda" else 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node_id, soft=False),
    }
    actor: ActorHandle | None = None
    try:
        async with asyncio.timeout(WARM_UP_S):
            while actor is None:
                try:
                    actor = Actor.options(**options).remote(
                        namespace, place.name, place.device, place.threads, roots, made_as(place, roots)
                    )
                except ValueError:  # taken: by one that was killed, for a moment, or by one that nobody adopted
                    end_named(place.name, namespace)
                    await asyncio.sleep(0.1)
            await _current(actor)
    except (RayError, TimeoutError):
        discard(actor)
        raise
    return actor


def end_named(name: str, namespace: str) -> None:
    """Kills the actor of that name, if there is one."""
    with suppress(ValueError):
        ray.kill(ray.get_actor(name, namespace=namespace))


def strays(namespace: str, places: Iterable[Place]) -> list[str]:
    """Names the actors of this installation and cluster that belong to no place, as when there are fewer slots now."""
    known = {place.name for place in places}
    named: list[dict[str, str]] = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in named if actor["namespace"] == namespace and actor["name"] not in known]


async def prove(actor: ActorHandle, place: Place, proof: str) -> str:
    """Lets the actor show that its node reaches the storage; empty, or what is wrong."""
    return await asyncio.wait_for(actor.prove.remote(proof, copy_of(proof, place.node)), ANSWER_S)


async def start(actor: ActorHandle, lease: dict[str, Any]) -> None:
    """Lets the actor begin with the lease. Raises RayActorError or TimeoutError where it is gone or hangs."""
    await asyncio.wait_for(actor.start.remote(lease), ANSWER_S)


async def has(actor: ActorHandle, paths: list[str]) -> dict[str, bool]:
    """Lets the actor look which of these data its node has. Raises RayActorError or TimeoutError where it is gone."""
    return await asyncio.wait_for(actor.has.remote(paths), ANSWER_S)


def discard(actor: ActorHandle | None) -> None:
    """Kills the actor and with it whatever it runs."""
    if actor is not None:
        ray.kill(actor)


async def memory(actor: ActorHandle) -> int:
    """Returns the bytes free for a job in the actor's slot. Raises RayActorError or TimeoutError where it is gone."""
    return (await asyncio.wait_for(_current(actor), ANSWER_S))["memory_bytes"]


async def run_memory(actor: ActorHandle) -> int:
    """Returns the bytes that the run in the actor holds; 0 where it does not say so soon."""
    try:
        return (await asyncio.wait_for(_current(actor), SOON_S)).get("run_bytes", 0)
    except (RayError, TimeoutError):
        return 0


async def _current(actor: ActorHandle) -> dict[str, Any]:
    return await actor.current.options(concurrency_group="current").remote()
