"""Reserves a node for the large job that has waited longest: small ones would fill every gap before it for ever."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pace_core.spec.leases import Slot
from service.leases.memory import NodeMemory
from service.leases.waiting import Waiting

AFTER_S = 300
"""So long a job waits for memory before a node is reserved for it."""


@dataclass(frozen=True)
class Reservation:
    """Reservation of the memory of a node's CPU slots for one job."""

    job: Waiting
    node: str

    def bars(self, job: Waiting, slot: Slot) -> bool:
        """Tells whether that job, which comes after the one with the reservation, must leave the slot alone."""
        here = slot.device == "cpu" and slot.node == self.node
        return here and (-job.aged, job.id) > (-self.job.aged, self.job.id)


def reserve(
    jobs: Iterable[Waiting],
    free: Sequence[Slot],
    open_slots: Sequence[Slot],
    memory: NodeMemory,
    may: Callable[[Waiting, Slot], bool],
    before: str | None,
) -> Reservation | None:
    """Returns the reservation for the first of the jobs that needs more memory than any free slot has now, but no more
    than a node has on which something still runs; None where there is no such job.

    open_slots: all open ones of the cluster, busy or not; may: whether anything but memory keeps a job from a slot;
    before: the job that had the reservation, which keeps it until it has begun.
    """
    waited = (job for job in jobs if job.waited_s >= AFTER_S)
    for job in sorted(waited, key=lambda job: (-job.aged, job.id)):
        fit = job.line.needs.fit
        fitting = [slot for slot in free if fit(slot, memory.free(slot)) and may(job, slot)]
        if fitting and job.id == before:
            return Reservation(job, fitting[0].node)
        if fitting:
            continue
        able = [slot for slot in open_slots if fit(slot, memory.whole(slot)) and may(job, slot)]
        if any(slot.device == "cuda" for slot in able):  # whose memory nobody shares: it waits for that slot
            continue
        nodes = {slot.node for slot in able} & memory.at_work
        if nodes:
            return Reservation(job, max(nodes, key=lambda node: (memory.left(node), node)))
    return None
