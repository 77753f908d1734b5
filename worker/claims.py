"""Asks the service for work on behalf of the slots that are free."""

import asyncio
import logging
from collections.abc import Callable

from pace_core.spec.leases import Holding, Lease, LeaseRequest, Slot
from service.client.worker import AsyncWorker
from worker.code_version import code_version
from worker.patience import until_answered

POLL_S = 20.0
TOGETHER_S = 0.01
"""Slots that become free within this time ask in one request."""

log = logging.getLogger(__name__)


class Claims:
    """Long polls; each free slot is part of one of them at most, so a lease never finds its slot taken."""

    def __init__(self, service: AsyncWorker, dispatcher: str, holding: Callable[[], list[Holding]]) -> None:
        self.data: dict[str, str] = {}
        self._service = service
        self._dispatcher = dispatcher
        self._holding = holding
        self._known: dict[str, Slot] = {}
        self._waiting: list[tuple[Slot, asyncio.Future[Lease | None]]] = []
        self._woken = asyncio.Event()

    async def ask(self, slot: Slot) -> Lease | None:
        """A lease for that free slot; None after a while without work."""
        self._known[slot.name] = slot
        answer: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((slot, answer))
        self._woken.set()
        return await answer

    def forget(self, name: str) -> None:
        """A slot is gone."""
        self._known.pop(name, None)

    async def run(self) -> None:
        """Polls for all who ask, until cancelled."""
        async with asyncio.TaskGroup() as polls:
            while True:
                await self._woken.wait()
                await asyncio.sleep(TOGETHER_S)
                self._woken.clear()
                asking, self._waiting = self._waiting, []
                polls.create_task(self._poll(asking))

    async def _poll(self, asking: list[tuple[Slot, asyncio.Future[Lease | None]]]) -> None:
        request = LeaseRequest(
            dispatcher=self._dispatcher,
            slots=[slot for slot, _ in asking],
            all_slots=list(self._known.values()),
            holding=self._holding(),
            data=self.data,
            code_version=code_version(),
            wait_s=POLL_S,
        )
        leases: dict[str, Lease] = {}
        try:
            response = await until_answered(lambda: self._service.lease(request))
            leases = {lease.slot: lease for lease in response.leases}
        finally:
            for slot, answer in asking:
                if not answer.done():
                    answer.set_result(leases.get(slot.name))
