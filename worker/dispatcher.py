"""The dispatcher of one Ray cluster: leases jobs for free slots and relays what runs in them.

It holds nothing that cannot be found again: its actors are detached and adopted by their slots' names, their events
wait in them, the service knows the leases. So it may die at any moment and be started anew.
"""

import asyncio
import logging
import signal
import socket
import time
import uuid
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from pace_core.spec.leases import Heartbeat, Holding, Lease, Slot
from service.client import AsyncClient
from service.client.worker import AsyncWorker
from worker import slots
from worker.actor import NAMESPACE
from worker.claims import Claims
from worker.code_version import code_version
from worker.relay import Relay
from worker.settings import Settings
from worker.slots import Adopted, Place

LOOK_S = 5.0
"""At most between two looks at the cluster: heartbeats, and slots for nodes that joined."""
AGAIN_S = 5.0
"""After something failed that another try may mend, such as an actor that could not be made."""
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
        self._roots = settings.roots
        self._relays: dict[str, Relay] = {}
        self._claims = Claims(
            service,
            f"{socket.gethostname()}/{uuid.uuid4().hex}",
            lambda: [relay.holding for relay in self._relays.values()],
        )
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._begun_or_ended = asyncio.Event()

    async def run(self) -> None:
        """Works until cancelled; the actors live on."""
        places = slots.places(self._slots_per_cpu_node)
        adopted = await asyncio.gather(*(slots.adopt(place) for place in places))
        # before the first claim, which says what runs here already
        self._relays = {
            place.name: self._relay_of(place, found.actor, found.job, found.attempt, found.token)
            for place, found in zip(places, adopted, strict=True)
            if found and found.job
        }
        async with asyncio.TaskGroup() as group:
            for place, found in zip(places, adopted, strict=True):
                self._serving[place.name] = group.create_task(self._serve(place, found))
            group.create_task(self._claims.run())
            group.create_task(self._look(group))

    async def _look(self, group: asyncio.TaskGroup) -> None:
        while True:
            places = slots.places(self._slots_per_cpu_node)
            self._serving = {name: task for name, task in self._serving.items() if not task.done()}
            for place in places:
                if place.name not in self._serving:
                    self._serving[place.name] = group.create_task(self._serve(place, await slots.adopt(place)))
            nodes = len({place.node_id for place in places})
            busy = f"{len(self._relays)} of {len(places)} slots at work"
            group.create_task(self._say(Heartbeat(part="ray", ok=bool(places), detail=f"{nodes} node(s) with slots")))
            group.create_task(self._say(Heartbeat(part="dispatcher", ok=True, detail=busy)))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._begun_or_ended.wait(), LOOK_S)
            self._begun_or_ended.clear()

    async def _say(self, heartbeat: Heartbeat) -> None:
        try:
            await asyncio.wait_for(self._service.heartbeat(heartbeat), LOOK_S)
        except Exception as error:  # the next one is seconds away
            log.debug("heartbeat: %s", error)

    async def _serve(self, place: Place, adopted: Adopted | None) -> None:
        """The life of one slot, for as long as its node is there.

        Whatever fails in it costs its own actor and nothing else: an error raised here would end the dispatcher.
        """
        actor = adopted.actor if adopted else None
        if adopted and place.name in self._relays:
            log.info("%s runs %s/%d; adopted", place.name, adopted.job, adopted.attempt)
            fit = await self._relay(place, self._relays[place.name])
            if not fit or adopted.code_version != code_version():
                actor = slots.discard(adopted.actor)
        while slots.alive(place):
            try:
                actor = actor or await slots.create(place, self._roots)
                lease = await self._lease(place, actor)
                if lease is None:
                    continue
                actor = await self._started(place, actor, lease)
                if not await self._relay(place, self._relay_of(place, actor, lease.job, lease.attempt, lease.token)):
                    actor = slots.discard(actor)
            except Exception as error:
                if isinstance(error, RayError | TimeoutError):
                    log.warning("%s: %s", place.name, error)
                else:
                    log.exception("%s: its actor is replaced", place.name)
                actor = slots.discard(actor)
                await asyncio.sleep(AGAIN_S)
        self._claims.forget(place.name)

    async def _lease(self, place: Place, actor: ActorHandle) -> Lease | None:
        free = await slots.memory(actor)
        if place.device == "cuda" and free < NEEDED_GPU_BYTES:
            await asyncio.sleep(AGAIN_S)
            return None
        return await self._claims.ask(Slot(name=place.name, device=place.device, memory_bytes=free, node=place.node))

    async def _started(self, place: Place, actor: ActorHandle, lease: Lease) -> ActorHandle:
        """The actor that runs the lease: another one where the first had died while idle, as nothing is lost then."""
        message: dict[str, Any] = lease.model_dump(mode="json")
        try:
            await actor.start.remote(message)
        except RayActorError:
            actor = await slots.create(place, self._roots)
            await actor.start.remote(message)
        return actor

    def _relay_of(self, place: Place, actor: ActorHandle, job: str, attempt: int, token: str) -> Relay:
        return Relay(self._service, actor, Holding(job=job, attempt=attempt, slot=place.name), token)

    async def _relay(self, place: Place, relay: Relay) -> bool:
        """Carries the attempt to its end; whether the actor is fit for another."""
        self._relays[place.name] = relay
        self._begun_or_ended.set()
        try:
            reason = await relay.until_end()
        finally:
            del self._relays[place.name]
            self._begun_or_ended.set()
        log.info("%s: %s/%d ended: %s", place.name, relay.holding.job, relay.holding.attempt, reason)
        if relay.result:
            self._claims.data |= {metric.task: relay.result.provenance.data_hash for metric in relay.result.metrics}
        return reason not in HARD_ENDS


def main() -> int:
    """Dispatches for the cluster of PACE_RAY_ADDRESS until SIGTERM or Ctrl-C."""
    settings = Settings()
    _join(settings.ray_address)
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(_until_told(settings))
    finally:
        ray.shutdown()
    return 0


def _join(address: str) -> None:
    """Joins the Ray cluster, which may be starting still: its first port answers long before its node is there."""
    while True:
        try:
            ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)
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
