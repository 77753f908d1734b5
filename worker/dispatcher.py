"""The dispatcher of one Ray cluster: leases jobs for free slots and relays what runs in them.

It holds nothing that cannot be found again: its actors are detached and adopted by their slots' names, their events
wait in them, the service knows the leases. So it may die at any moment and be started anew.
"""

import asyncio
import logging
import signal
import time
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from pace_core.spec.leases import Heartbeat, Holding, Joined, Lease, Slot
from service.client import AsyncClient, ClusterTaken, ProblemError
from service.client.worker import AsyncWorker
from worker import slots
from worker.claims import Claims
from worker.membership import Membership
from worker.patience import until_answered
from worker.relay import Relay
from worker.settings import Settings
from worker.slots import Adopted, Place

LOOK_S = 5.0
"""At most between two looks at the cluster: heartbeats, and slots for nodes that joined."""
AGAIN_S = 5.0
"""After something failed that another try may mend, such as an actor that could not be made."""
PROVE_AGAIN_S = 30.0
"""After a node did not reach the storage."""
NEEDED_GPU_BYTES = 1 << 30
"""A GPU with less free memory is not offered: somebody else is at work on it."""
HARD_ENDS = frozenset({"crashed", "out_of_memory", "lost"})
"""What may leave an actor damaged; it is replaced."""

log = logging.getLogger(__name__)


class Dispatcher:
    """One task a slot, which makes or adopts its actor and carries lease after lease through it."""

    def __init__(self, service: AsyncWorker, settings: Settings) -> None:
        self._service = service
        self._slots_per_cpu_node = settings.slots
        self._settings = settings
        self._roots: dict[str, list[str]] = {}
        self._labels = settings.cluster_labels
        self._membership = Membership(service)
        self._joined = Joined(cluster="", namespace="", proof="")
        self._proved: set[str] = set()
        """Nodes that have shown that they reach the storage."""
        self._proving = asyncio.Lock()
        self._relays: dict[str, Relay] = {}
        self._claims = Claims(
            service,
            self._membership.dispatcher,
            lambda: [relay.holding for relay in self._relays.values()],
            self._has,
        )
        self._actors: dict[str, tuple[Place, ActorHandle]] = {}
        """The actor of each slot that has one, by the slot's name."""
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._begun_or_ended = asyncio.Event()

    async def run(self) -> None:
        """Works until cancelled; the actors live on. Raises ClusterTaken where another dispatcher takes its place."""
        self._joined = await self._membership.join()
        self._roots = self._settings.roots(self._storage)
        places = slots.places(self._slots_per_cpu_node)
        # all of them before the first claim, which says what runs here already
        adopted = await asyncio.gather(*(self._adopt(place) for place in places))
        strays = await asyncio.gather(*(self._adopt_stray(name) for name in self._strays(places)))
        try:
            async with asyncio.TaskGroup() as group:
                for place, found in zip(places, adopted, strict=True):
                    self._serving[place.name] = group.create_task(self._serve(place, found))
                for name, found in filter(None, strays):
                    self._serving[name] = group.create_task(self._see_out(name, found))
                group.create_task(self._claims.run())
                group.create_task(self._look(group))
        finally:
            await asyncio.shield(self._membership.leave())

    async def _adopt(self, place: Place) -> Adopted | None:
        """Takes over the actor that an earlier dispatcher left in the slot, with what it runs."""
        found = await slots.adopt(place.name, self._joined.namespace, slots.made_as(place, self._roots))
        self._hold(place.name, found)
        return found

    async def _adopt_stray(self, name: str) -> tuple[str, Adopted] | None:
        """Takes over an actor that belongs to no slot for as long as it runs something; otherwise it is ended."""
        log.warning("%s is the actor of no slot; it is ended as soon as it runs nothing", name)
        found = await slots.adopt(name, self._joined.namespace, made_as="")
        self._hold(name, found)
        return (name, found) if found else None

    def _hold(self, name: str, found: Adopted | None) -> None:
        if found and found.job:
            self._relays[name] = self._relay_of(name, found.actor, found.job, found.attempt, found.token)

    def _strays(self, places: list[Place]) -> list[str]:
        return [name for name in slots.strays(self._joined.namespace, places) if name not in self._serving]

    async def _look(self, group: asyncio.TaskGroup) -> None:
        while True:
            places = slots.places(self._slots_per_cpu_node)
            await self._stay()
            self._serving = {name: task for name, task in self._serving.items() if not task.done()}
            for place in places:
                if place.name not in self._serving:
                    self._serving[place.name] = group.create_task(self._serve(place, await self._adopt(place)))
            for name in self._strays(places):
                if stray := await self._adopt_stray(name):
                    self._serving[name] = group.create_task(self._see_out(*stray))
            for relay in self._relays.values():
                relay.touch()
            nodes = len({place.node_id for place in places})
            busy = f"{len(self._relays)} of {len(places)} slots at work"
            group.create_task(self._say(Heartbeat(part="ray", ok=bool(places), detail=f"{nodes} node(s) with slots")))
            group.create_task(self._say(Heartbeat(part="dispatcher", ok=True, detail=busy)))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):  # `wait_for` may lose a cancellation in Python 3.11
                    await self._begun_or_ended.wait()
            self._begun_or_ended.clear()

    async def _stay(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._membership.stay()
        except ClusterTaken:
            raise
        except Exception as error:  # the service is away; it is asked again in seconds
            log.debug("staying: %s", error)

    async def _say(self, heartbeat: Heartbeat) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._service.heartbeat(heartbeat)
        except Exception as error:  # the next one is seconds away
            log.debug("heartbeat: %s", error)

    async def _serve(self, place: Place, adopted: Adopted | None) -> None:
        """The life of one slot, for as long as its node is there.

        Whatever fails in it costs its own actor and nothing else: an error raised here would end the dispatcher.
        """
        actor = adopted.actor if adopted else None
        if adopted and place.name in self._relays:
            log.info("%s runs %s/%d; adopted", place.name, adopted.job, adopted.attempt)
            unhurt = await self._relay(place.name, self._relays[place.name])
            if not (unhurt and adopted.fit):
                actor = slots.discard(adopted.actor)
        while slots.alive(place):
            try:
                actor = actor or await slots.create(place, self._joined.namespace, self._roots)
                self._actors[place.name] = place, actor
                async with self._proving:  # slots of one node would take each other's copy away
                    trouble = await self._unproved(place, actor)
                if trouble:
                    self._announce(place, trouble)
                    await asyncio.sleep(PROVE_AGAIN_S)
                    continue
                lease = await self._lease(place, actor)
                if lease is None:
                    continue
                actor = await self._started(place, actor, lease)
                relay = self._relay_of(place.name, actor, lease.job, lease.attempt, lease.token)
                if not await self._relay(place.name, relay):
                    actor = slots.discard(actor)
            except Exception as error:
                if isinstance(error, RayError | TimeoutError):
                    log.warning("%s: %s", place.name, error)
                else:
                    log.exception("%s: its actor is replaced", place.name)
                actor = slots.discard(actor)
                self._announce(place, f"its actor failed: {type(error).__name__} {error}")
                await asyncio.sleep(AGAIN_S)
        self._claims.forget(place.name)
        self._actors.pop(place.name, None)

    async def _see_out(self, name: str, stray: Adopted) -> None:
        """Carries what runs in an actor without a slot to its end, and then ends the actor."""
        log.info("%s runs %s/%d to its end", name, stray.job, stray.attempt)
        await self._relay(name, self._relays[name])
        slots.discard(stray.actor)

    async def _has(self, paths: list[str]) -> dict[str, bool]:
        """Tells which of these data every node of the cluster has; one actor a node looks."""
        of_nodes = {place.node: actor for place, actor in self._actors.values()}
        found = await asyncio.gather(*(slots.has(actor, paths) for actor in of_nodes.values()), return_exceptions=True)
        answers = [answer for answer in found if isinstance(answer, dict)]  # a node that is gone is asked no more
        return {path: bool(answers) and all(answer.get(path, False) for answer in answers) for path in paths}

    async def _lease(self, place: Place, actor: ActorHandle) -> Lease | None:
        free = await slots.memory(actor)
        if place.device == "cuda" and free < NEEDED_GPU_BYTES:
            self._announce(place, f"its GPU has {free / 2**30:.1f} GiB free: somebody else is at work on it", free)
            await asyncio.sleep(AGAIN_S)
            return None
        whole = None
        if place.device == "cpu":
            beside = [relay.actor for name, relay in self._relays.items() if place.is_beside(name)]
            whole = free + sum(await asyncio.gather(*(slots.run_memory(actor) for actor in beside)))
        return await self._claims.ask(self._slot(place, free, node_bytes=whole))

    def _slot(self, place: Place, memory_bytes: int, trouble: str = "", node_bytes: int | None = None) -> Slot:
        labels = dict(list({**place.labels, **self._labels}.items())[:50])
        return Slot(
            name=place.name,
            device=place.device,
            memory_bytes=memory_bytes,
            node_bytes=node_bytes,
            node=place.node,
            labels=labels,
            trouble=" ".join(trouble.split())[:1000],
        )

    def _announce(self, place: Place, trouble: str, memory_bytes: int = 0) -> None:
        log.warning("%s: %s", place.name, trouble)
        self._claims.announce(self._slot(place, memory_bytes, trouble))

    async def _unproved(self, place: Place, actor: ActorHandle) -> str:
        """What keeps the place's node from the service's storage; empty where it has shown that it reaches it."""
        if place.node in self._proved:
            return ""
        if wrong := await slots.prove(actor, place, self._joined.proof):
            return (
                f"node {place.node} does not reach the service's storage {self._storage}: {wrong}. Mount the same "
                "folder there, or set PACE_STORAGE of the service to a storage that every node reaches, such as "
                "s3://bucket/pace"
            )
        try:
            await until_answered(lambda: self._service.prove(place.node))
        except ProblemError as problem:
            return problem.detail
        self._proved.add(place.node)
        return ""

    @property
    def _storage(self) -> str:
        return self._joined.proof.rpartition("/proofs/")[0]

    async def _started(self, place: Place, actor: ActorHandle, lease: Lease) -> ActorHandle:
        """The actor that runs the lease: another one where the first had died while idle, as nothing is lost then."""
        message: dict[str, Any] = lease.model_dump(mode="json")
        try:
            await slots.start(actor, message)
        except RayActorError:
            actor = await slots.create(place, self._joined.namespace, self._roots)
            await slots.start(actor, message)
        return actor

    def _relay_of(self, slot: str, actor: ActorHandle, job: str, attempt: int, token: str) -> Relay:
        return Relay(self._service, actor, Holding(job=job, attempt=attempt, slot=slot), token)

    async def _relay(self, slot: str, relay: Relay) -> bool:
        """Carries the attempt to its end; whether the actor is fit for another."""
        self._relays[slot] = relay
        self._begun_or_ended.set()
        try:
            reason = await relay.until_end()
        finally:
            del self._relays[slot]
            self._begun_or_ended.set()
        log.info("%s: %s/%d ended: %s", slot, relay.holding.job, relay.holding.attempt, reason)
        return reason not in HARD_ENDS


def main() -> int:
    """Dispatches for the cluster of PACE_RAY_ADDRESS until SIGTERM or Ctrl-C."""
    settings = Settings()
    _join(settings.ray_address)
    code = 0
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(_until_told(settings))
    except* ClusterTaken as taken:
        log.error("%s", _first(taken))
        code = 1
    finally:
        ray.shutdown()
    return code


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _join(address: str) -> None:
    """Joins the Ray cluster, which may be starting still: its first port answers long before its node is there."""
    while True:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
            return
        except ConnectionError as error:
            log.warning("PACE_RAY_ADDRESS %s: %s; trying again", address, error)
            time.sleep(AGAIN_S)


async def _until_told(settings: Settings) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with AsyncClient() as client:
        await Dispatcher(client.worker, settings).run()
