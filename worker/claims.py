"""Asks the service for work on behalf of the slots that are free."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pace_core.spec.leases import Holding, Lease, LeaseRequest, LeaseResponse, Slot
from service.client import ProblemError
from service.client.worker import AsyncWorker
from worker.code_version import code_version
from worker.patience import until_answered

POLL_S = 20.0
ANNOUNCE_S = 2 * POLL_S
REFUSED_S = 30.0
"""Between two requests of a worker whom the service does not understand, as while one of the two is being updated."""
LOOKED_S = 60.0
"""After so long data are looked for again: they may have been put there, or taken away."""
SHORTENED_S = 1.0
"""Between a request that the service could not take as it was and the next, which says less."""
_UNREADABLE = (413, 422)
TOGETHER_S = 0.01
"""Slots that become free within this time ask in one request."""

log = logging.getLogger(__name__)


class Claims:
    """One long poll counts at a time: the newest, for every slot that is free by then.

    The service gives nothing to an older one any more, but what it gave just before may still arrive by it. So an
    older poll is left to end by itself. Should a slot be given two leases that way, the second is not started: the
    service takes it back when it sees the slot free and the attempt not held.
    """

    def __init__(
        self,
        service: AsyncWorker,
        dispatcher: str,
        holding: Callable[[], list[Holding]],
        look: Callable[[list[str]], Awaitable[dict[str, bool]]],
    ) -> None:
        self._look = look
        self._paths: dict[str, tuple[bool, float]] = {}
        """Path of data → whether the cluster has them, and when it looked."""
        self._service = service
        self._dispatcher = dispatcher
        self._holding = holding
        self._lost: set[Holding] = set()
        self._known: dict[str, Slot] = {}
        self._free: dict[str, tuple[Slot, asyncio.Future[Lease | None]]] = {}
        self._woken = asyncio.Event()
        self._newest: LeaseRequest | None = None

    async def ask(self, slot: Slot) -> Lease | None:
        """Waits for a lease for that free slot; returns None after a while without work."""
        self._known[slot.name] = slot
        answer: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()
        self._free[slot.name] = (slot, answer)
        self._woken.set()
        try:
            return await answer
        finally:
            self._free.pop(slot.name, None)

    def announce(self, slot: Slot) -> None:
        """Says what is wrong with a slot that takes nothing now."""
        if self._known.get(slot.name) != slot:
            self._known[slot.name] = slot
            self._woken.set()

    def forget(self, name: str) -> None:
        """Forgets a slot that is gone."""
        self._known.pop(name, None)

    async def run(self) -> None:
        """Polls for all who ask, until cancelled."""
        async with asyncio.TaskGroup() as polls:
            while True:
                with suppress(TimeoutError):  # all slots at work for long: the service shall know that we are here
                    async with asyncio.timeout(ANNOUNCE_S):  # `wait_for` may lose a cancellation in Python 3.11
                        await self._woken.wait()
                await asyncio.sleep(TOGETHER_S)
                self._woken.clear()
                self._newest = self._request()
                polls.create_task(self._poll(self._newest))

    def _request(self) -> LeaseRequest:
        holding = self._holding()
        self._lost.intersection_update(holding)
        lately = time.monotonic() - LOOKED_S
        self._paths = {path: found for path, found in self._paths.items() if found[1] > lately}
        return LeaseRequest(
            dispatcher=self._dispatcher,
            slots=[slot for slot, _ in self._free.values()],
            all_slots=list(self._known.values()),
            holding=[held for held in holding if held not in self._lost],
            paths={path: has for path, (has, _) in self._paths.items()},
            code_version=code_version(),
            wait_s=POLL_S if self._free else 0.0,
        )

    async def _poll(self, request: LeaseRequest) -> None:
        async def ask() -> LeaseResponse | None:
            return await self._service.lease(request) if request is self._newest else None

        try:
            response = await until_answered(ask)
        except ProblemError as problem:
            await self._take_refusal(problem, request)
            response = LeaseResponse(leases=[], lost=[], lease_s=0.0)
        if response is None:
            return
        self._lost.update(response.lost)  # their relays learn of it by their next report
        self._hand_out(response)
        if response.look_for:
            now = time.monotonic()
            self._paths |= {path: (has, now) for path, has in (await self._look(response.look_for)).items()}
        if request is self._newest:
            for _, answer in self._free.values():
                if not answer.done():
                    answer.set_result(None)

    async def _take_refusal(self, problem: ProblemError, request: LeaseRequest) -> None:
        """Returns when the service may be asked again; what runs here goes on meanwhile.

        What the request said of data may have been too much, or not what the service takes. It is forgotten then: no
        job shall be able to end the dispatcher by what it names. Raises what another request does not mend.
        """
        unreadable = problem.status in _UNREADABLE
        if not unreadable and problem.code != "wrong-protocol":
            raise problem
        log.error("no work is given to this worker: %s", " ".join(str(problem).split()))
        self._paths = {}
        await asyncio.sleep(SHORTENED_S if unreadable and request.paths else REFUSED_S)

    def _hand_out(self, response: LeaseResponse) -> None:
        for lease in response.leases:
            _, answer = self._free.get(lease.slot, (None, None))
            if answer is None or answer.done():
                log.warning("%s/%d: %s is taken; the service gives it again", lease.job, lease.attempt, lease.slot)
            else:
                answer.set_result(lease)
