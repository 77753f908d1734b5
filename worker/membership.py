"""The dispatcher's place as the one that serves its cluster."""

import asyncio
import logging
import os
import socket
import uuid
from functools import partial

from pace_core.spec.leases import Join, Joined
from service.client import ClusterTaken
from service.client.worker import AsyncWorker
from worker.code_version import code_version
from worker.patience import until_answered
from worker.process_lock import hold, is_dead

AGAIN_S = 2.0
LEAVE_S = 3.0

log = logging.getLogger(__name__)


class Membership:
    """Membership of a cluster: asked for, kept, and left at the end."""

    def __init__(self, service: AsyncWorker) -> None:
        self.dispatcher = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex}"
        self._service = service
        hold(self.dispatcher, patience_s=0)  # by which whoever starts after us on this machine sees that we are dead

    async def join(self) -> Joined:
        """Returns once this dispatcher serves the cluster; waits for as long as another one does."""
        said = replaces = ""
        while True:
            try:
                return await until_answered(partial(self._service.join, self._asked(replaces)))
            except ClusterTaken as taken:
                if replaces != taken.dispatcher and is_dead(taken.dispatcher):
                    replaces = taken.dispatcher
                    continue
                if said != taken.dispatcher:
                    said = taken.dispatcher
                    log.warning("%s", taken.detail)
            await asyncio.sleep(AGAIN_S)

    async def stay(self) -> None:
        """Says that this dispatcher still serves. Raises ClusterTaken where another one took the place meanwhile."""
        await self._service.join(self._asked())

    async def leave(self) -> None:
        """Frees the place, so that the next dispatcher need not wait."""
        try:
            await asyncio.wait_for(self._service.leave(self.dispatcher), LEAVE_S)
        except Exception as error:  # it is freed when we have been silent for long enough
            log.debug("leaving: %s", error)

    def _asked(self, replaces: str = "") -> Join:
        return Join(dispatcher=self.dispatcher, code_version=code_version(), replaces=replaces)
