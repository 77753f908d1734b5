"""The slots of a Ray cluster and the actors behind them."""

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from worker.actor import NAMESPACE, Actor
from worker.code_version import code_version

SHARE = 0.9  # of a node's CPUs; the rest is for the drivers of studies, which compute nothing
WARM_UP_S = 300.0
ANSWER_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a slot is. Its name is its actor's name, the same after a restart of the dispatcher."""

    name: str
    node_id: str
    node: str
    device: Literal["cpu", "cuda"]
    cpus: float

    @property
    def threads(self) -> int:
        """The slot's share of the node's cores, at least one."""
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class Adopted:
    """An actor found in its slot, and the attempt that it holds (job None: it is idle)."""

    actor: ActorHandle
    job: str | None
    attempt: int
    code_version: str
    token: str
    """Of the attempt's lease."""


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
        host, node_id = node["NodeManagerHostname"], node["NodeID"]
        found += [
            Place(f"{host}-{node_id[:6]}-{i}", node_id, host, "cuda" if gpus else "cpu", share) for i in range(count)
        ]
    return found


def alive(place: Place) -> bool:
    """Tells whether the slot's node is still part of the cluster."""
    return any(node["NodeID"] == place.node_id and node["Alive"] for node in ray.nodes())


async def adopt(place: Place) -> Adopted | None:
    """Returns the actor that an earlier dispatcher left in the slot; None where none is fit for use.

    An idle actor of another code version is not fit, nor one that does not answer: it is killed.
    """
    try:
        actor = ray.get_actor(place.name, namespace=NAMESPACE)
    except ValueError:
        return None
    try:
        current = await asyncio.wait_for(_current(actor), ANSWER_S)
    except (RayError, TimeoutError):
        log.warning("the actor of %s does not answer; it is replaced", place.name)
        return discard(actor)
    if current["job"] is None and current["code_version"] != code_version():
        log.info("the actor of %s runs other code; it is replaced", place.name)
        return discard(actor)
    return Adopted(actor, current["job"], current["attempt"], current["code_version"], current.get("token", ""))


async def create(place: Place, roots: dict[str, list[str]]) -> ActorHandle:
    """Starts a new, warm actor in the slot, which reads specs' files below those roots.

    Raises RayActorError or TimeoutError where it does not start.
    """
    options: dict[str, Any] = {
        "name": place.name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": place.cpus,
        "num_gpus": 1 if place.device == "cuda" else 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node_id, soft=False),
    }
    async with asyncio.timeout(WARM_UP_S):
        while True:
            try:
                actor = Actor.options(**options).remote(place.name, place.device, place.threads, roots)
                break
            except ValueError:  # the name of a killed actor stays taken for a moment
                await asyncio.sleep(0.1)
        await _current(actor)
    return actor


def discard(actor: ActorHandle | None) -> None:
    """Kills the actor and with it whatever it runs."""
    if actor is not None:
        ray.kill(actor)


async def memory(actor: ActorHandle) -> int:
    """Bytes free for a job in the actor's slot now. Raises RayActorError or TimeoutError where the actor is gone."""
    return (await asyncio.wait_for(_current(actor), ANSWER_S))["memory_bytes"]


async def _current(actor: ActorHandle) -> dict[str, Any]:
    return await actor.current.options(concurrency_group="current").remote()
