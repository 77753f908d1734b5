"""Why a queued job waits: whether any cluster that is there could run it at all."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Slot
from service.leases.tables import Cluster


class Slots:
    """Every slot of the clusters that are there; of all seen so far where none is (`away`)."""

    def __init__(self, clusters: list[Cluster], away: bool) -> None:
        self._slots = [Slot.model_validate(slot) for cluster in clusters for slot in cluster.slots]
        self._last_seen = max((cluster.seen_at for cluster in clusters), default=None)
        self._away = away and self._last_seen is not None

    def waiting_for(self, device: str, memory_bytes: int | None) -> str:
        """Says in a sentence what a queued job with these needs waits for."""
        lacking = self.lacking(device, memory_bytes)
        if lacking:
            return lacking
        if self._away:
            return f"a worker: none was heard of since {self._last_seen:%Y-%m-%d %H:%M:%S} UTC"
        return "a free slot"

    def lacking(self, device: str, memory_bytes: int | None) -> str | None:
        """Says what no slot seen so far has; None where one could run it."""
        if not self._slots:
            return "a worker: none has connected yet; start one with `pace up` or `python -m worker dispatch`"
        fitting = [slot for slot in self._slots if device in ("auto", slot.device)]
        if not fitting:
            have = ", ".join(sorted({slot.device for slot in self._slots}))
            return f"a slot with device {device}: workers seen so far have {have} only; see resources.device"
        largest = max(slot.memory_bytes for slot in fitting)
        if memory_bytes is not None and memory_bytes > largest:
            needs, most = memory_bytes / 2**30, largest / 2**30
            return (
                f"a slot with {needs:.1f} GiB free: the largest seen so far has {most:.1f} GiB; "
                "set training.micro_batch, or resources.memory_gib where the estimate is too high"
            )
        return None


async def seen_slots(session: AsyncSession, seen_s: float) -> Slots:
    """Lists the slots of the clusters that asked for work within the last `seen_s`, else of all that ever did."""
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seen_s)
    found = list(await session.execute(select(Cluster, (Cluster.seen_at >= since).label("there"))))
    there = [cluster for cluster, is_there in found if is_there]
    return Slots(there or [cluster for cluster, _ in found], away=not there)
