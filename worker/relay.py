"""Between an actor and the service, for one attempt: events up, directives down."""

import asyncio
import logging
import time
from datetime import UTC, datetime

from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, RayActorError

from pace_core.spec import Directive, Event, EventType
from pace_core.spec.leases import Holding, Report
from pace_core.spec.text import shown
from service.client import LeaseFenced, ProblemError
from service.client.worker import AsyncWorker
from worker.patience import until_answered

QUIET_S = 0.5
"""An empty report after this long without events: it renews the lease and learns of a cancel or pause."""
BETWEEN_REPORTS_S = 0.1
EVENTS_A_REPORT = 500
BYTES_A_REPORT = 500_000
STOP_S = 30.0
"""What has not come to the end of its step by then is killed: a cancel always ends a job."""
FENCED_STOP_S = 5.0
ANSWER_S = 60.0
NOT_FOUND = 404  # the job was deleted
EVERYTHING = 2**53

log = logging.getLogger(__name__)


class Relay:
    """Relay of one attempt, from wherever it is to its end."""

    def __init__(self, service: AsyncWorker, actor: ActorHandle, holding: Holding, token: str) -> None:
        self.holding = holding
        self._token = token
        self._service = service
        self.actor = actor
        self._acknowledged = 0
        self._directive: Directive = "continue"
        self._stop_since: float | None = None

    def touch(self) -> None:
        """Lets the actor know that a dispatcher is there, also while the service is not."""
        self.actor.current.options(concurrency_group="current").remote()

    async def until_end(self) -> str:
        """Relays until the service has every event. The attempt's end reason; `fenced` where it was ours no longer;
        `lost` or `crashed` where the actor is of no more use.

        An actor that dies has its attempt ended here, so that the job goes on elsewhere without waiting for the
        lease to run out; so has one whose words cannot be passed on, whatever they are. Nothing an attempt does is
        raised here: the other slots have nothing to do with it.
        """
        try:
            await self._report([])  # an adopted attempt: how far had the dispatcher before us come?
            while True:
                events, ended = await self._exchange()
                reason = self._end_of(events)
                before = time.monotonic()
                if events or not ended:
                    await self._report(_of_one_report(events))
                if ended and (not events or events[-1].seq <= self._acknowledged):
                    await self._exchange(wait_s=0)  # the actor forgets the last of them and is idle
                    return reason or "ended"
                if self._overdue():
                    return await self._end("cancelled", "The run did not come to the end of its step; it was killed.")
                await asyncio.sleep(max(0.0, BETWEEN_REPORTS_S - (time.monotonic() - before)))
        except (RayActorError, TimeoutError) as death:
            return await self._end("lost", f"The worker's process is gone: {_cause(death)}")
        except Exception as error:
            if isinstance(error, ProblemError) and (isinstance(error, LeaseFenced) or error.status == NOT_FOUND):
                log.warning("%s/%d: %s; its run is stopped", self.holding.job, self.holding.attempt, error.detail)
                return "fenced" if await self._stopped_quietly() else "lost"
            log.exception("%s/%d cannot be relayed", self.holding.job, self.holding.attempt)
            await self._end("crashed", f"What the run said could not be passed on: {_cause(error)}")
            return "crashed"

    async def _exchange(self, wait_s: float = QUIET_S) -> tuple[list[Event], bool]:
        while True:
            try:
                exchange = self.actor.exchange.options(concurrency_group="exchange")
                answer = await asyncio.wait_for(exchange.remote(self._acknowledged, self._directive, wait_s), ANSWER_S)
                return [Event.model_validate(event) for event in answer["events"]], answer["ended"]
            except ActorUnavailableError:  # the network to its node; a death comes as another error
                await asyncio.sleep(QUIET_S)

    async def _report(self, events: list[Event]) -> None:
        report = Report(token=self._token, events=events)
        response = await until_answered(lambda: self._service.report(self.holding.job, self.holding.attempt, report))
        self._acknowledged = response.acknowledged
        self._directive = response.directive
        if self._directive != "stop":
            self._stop_since = None
        elif self._stop_since is None:
            self._stop_since = time.monotonic()

    async def _end(self, reason: str, message: str) -> str:
        """Ends the attempt in the actor's place. All that the actor handed over has been acknowledged by now."""
        data = {"reason": reason, "message": message, "result": None}
        end = Event(seq=self._acknowledged + 1, at=datetime.now(UTC), type=EventType.END, data=data)
        log.warning("%s/%d: %s", self.holding.job, self.holding.attempt, message)
        try:
            await self._report([end])
        except Exception as error:  # the lease runs out by itself then
            log.warning("%s/%d: its end could not be said: %s", self.holding.job, self.holding.attempt, _cause(error))
        return "lost"

    async def _stopped_quietly(self) -> bool:
        """Tells the run to stop and forgets what it says; whether the actor is idle then."""
        self._acknowledged, self._directive = EVERYTHING, "stop"
        until = time.monotonic() + FENCED_STOP_S
        try:
            while time.monotonic() < until:
                _, ended = await self._exchange()
                if ended:
                    await self._exchange(wait_s=0)
                    return True
        except Exception as error:
            log.warning("%s/%d: %s", self.holding.job, self.holding.attempt, _cause(error))
        return False

    def _end_of(self, events: list[Event]) -> str | None:
        if not events or events[-1].type != EventType.END:
            return None
        return events[-1].data["reason"]

    def _overdue(self) -> bool:
        return self._stop_since is not None and time.monotonic() - self._stop_since > STOP_S


def _of_one_report(events: list[Event]) -> list[Event]:
    """Returns as many of the events as fit into one request, at least one."""
    size, count = 0, 0
    for event in events[:EVENTS_A_REPORT]:
        size += len(event.model_dump_json())
        if count and size > BYTES_A_REPORT:
            break
        count += 1
    return events[:count]


def _cause(error: Exception) -> str:
    said = str(error).strip()
    return shown(said.splitlines()[0] if said else type(error).__name__)
