"""Chooses queued jobs for free slots: by priority, then the owner with the fewest running, then age.

The queue is read lane by lane (jobs of equal needs and owner), of each only its head, and of each owner so many lanes
only: what a look costs depends neither on the number of jobs nor on how many needs somebody makes up.
"""

import math
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Slot
from service.clusters.fit import open_slots
from service.clusters.placement import Placement
from service.jobs.tables import LEASED_JOBS, Job
from service.leases.memory import NodeMemory
from service.leases.reservation import Reservation, reserve
from service.leases.statements import AT_WORK, HEADS, LANES
from service.leases.waiting import Line, Waiting
from service.settings import Settings
from service.suites.tables import Suite

_AVOIDED_S = 600.0
"""For so long after a job broke on a node it is left to other nodes that could take it, busy as they may be."""

_LANES_AT_ONCE = 512
"""So many lanes a claim looks at, of each owner an equal part; more only where there are more owners than that."""
_LEAST_OF_AN_OWNER = 8


class Queue:
    """The jobs that are due in the free slots of a cluster, as one claim sees them."""

    def __init__(
        self,
        slots: Sequence[Slot],
        open_slots: Sequence[Slot],
        load: "_Load",
        broke: "_Broke",
        placed: Placement,
        lines: Sequence[Line],
        reserved_before: str | None,
    ) -> None:
        """slots: the free ones of the open ones. reserved_before: the job for which a node was kept until now."""
        self.look_for = placed.look_for
        """Data of which the cluster has not said whether it has them, in the order in which they were needed."""
        self._lines: Sequence[Line] | None = lines
        self.reserved: Reservation | None = None
        """The node that is kept for a job which needs more memory than is free."""
        self._reserved_before = reserved_before
        self._free = list(slots)
        self._open_slots = open_slots
        self._load = load
        self._broke = broke
        self._placed = placed
        self._proposed: dict[str, tuple[Waiting, Slot]] = {}
        self._settled: set[str] = set()
        """Jobs that are ours by now, or held by other claims."""
        self._rounds = 3  # where another claim was quicker, what it left is looked at again

    async def choose(self, session: AsyncSession) -> dict[str, Slot]:
        """Picks the job that is due in each free slot: job → slot. `note` then which of them could be claimed."""
        self._proposed = {}
        if self._free and self._rounds > 0:
            self._rounds -= 1
            self._proposed = await self._propose(session)
        return {job: slot for job, (_, slot) in self._proposed.items()}

    async def _propose(self, session: AsyncSession) -> dict[str, tuple[Waiting, Slot]]:
        load, broke, placed = self._load, self._broke, self._placed
        lines, self._lines = self._lines, None
        if lines is None:  # a later round: what is queued may be something else by now
            lines = [Line(*row) for row in await session.execute(LANES, _some_lanes())]
        suites = {line.needs.suite for line in lines if line.needs.suite} - load.room_in_suite.keys()
        if suites:
            load.room_in_suite.update(await _room_in_suites(session, suites))
        fitting, larger = self._fitting(lines)
        # so many that enough are left without those that are passed over
        count = len(self._free) + len(self._settled) + len(broke.nodes)
        jobs = [job for job in await _heads(session, fitting, count) if job.id not in self._settled]
        waiting = [*jobs, *await _heads(session, larger, 1)]
        self.reserved = reserved = reserve(
            waiting,
            self._free,
            self._open_slots,
            load.memory,
            lambda job, slot: not broke.bars(job, slot, placed),
            self._reserved_before,
        )
        levels: defaultdict[int, defaultdict[tuple[str, str], list[Waiting]]] = defaultdict(lambda: defaultdict(list))
        for job in sorted(jobs, key=lambda job: job.id):
            levels[job.aged][job.of].append(job)
        proposed: dict[str, tuple[Waiting, Slot]] = {}

        def due(slot: Slot) -> Waiting | None:
            """Returns the job for the slot: of the highest level, of the owners with the fewest running, the oldest."""
            memory = load.memory.free(slot)
            for _, owners in sorted(levels.items(), reverse=True):
                best: Waiting | None = None
                for owner, waiting in owners.items():
                    if best is None or load.running[owner] <= load.running[best.of]:
                        first = next((job for job in waiting if able(job, slot, memory)), None)
                        best = min(
                            filter(None, (best, first)), key=lambda job: (load.running[job.of], job.id), default=None
                        )
                if best:
                    return best
            return None

        def able(job: Waiting, slot: Slot, memory: int) -> bool:
            return (
                job.id not in proposed
                and load.takes(job.line)
                and job.line.needs.fit(slot, memory)
                and not (reserved and reserved.bars(job, slot))
                and not broke.bars(job, slot, placed)
            )

        for slot in self._free:
            if best := due(slot):
                proposed[best.id] = best, slot
                load.take(best, slot)
        return proposed

    def _fitting(self, lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
        """Returns the lines that a free slot could take, and those that one could if nothing else ran on its node."""
        fitting: list[Line] = []
        larger: list[Line] = []
        now = _kinds(self._free, lambda slot: slot.memory_bytes)
        empty = _kinds(self._open_slots, self._load.memory.whole)
        for line in lines:
            needs = line.needs
            if not self._load.takes(line):
                continue
            fits = any(needs.fit(slot, memory) for slot, memory in now)
            if (fits or any(needs.fit(slot, memory) for slot, memory in empty)) and self._placed.takes(needs.data):
                (fitting if fits else larger).append(line)
        return fitting, larger

    def note(self, ours: Set[str]) -> None:
        """Takes in which of the chosen jobs were claimed. Other claims hold the others."""
        for job, (waiting, slot) in self._proposed.items():
            if job in ours:
                self._free.remove(slot)
            else:
                self._load.give_back(waiting, slot)
        self._settled |= self._proposed.keys()
        if ours == self._proposed.keys():
            self._rounds = 0


async def look_at_queue(
    session: AsyncSession,
    settings: Settings,
    cluster: str,
    slots: Sequence[Slot],
    all_slots: Sequence[Slot],
    paths: Mapping[str, bool] | None,
    reserved_before: str | None,
) -> Queue:
    """Returns the queue before those of the slots that are open. `paths`: whether the cluster has these data."""
    values = {
        "cluster": cluster,
        "seen_s": settings.worker_seen_s,
        "max_running": settings.max_running,
        "avoided_s": _AVOIDED_S,
        **_some_lanes(),
    }
    closed_places, others, most, running, promised, broke, lines = (await session.execute(AT_WORK, values)).one()
    closed = {(node, slot) for node, slot in closed_places}
    free, opened = ([slot for slot in some if _is_open(slot, closed)] for some in (slots, all_slots))
    nodes: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for job, of_cluster, node in broke:
        nodes[job].add((of_cluster, node))
    slots_open = await open_slots(session, settings.worker_seen_s) if nodes else []
    return Queue(
        free,
        opened,
        _Load.of(all_slots, most, running, promised),
        _Broke(cluster, nodes, slots_open),
        Placement(paths, others),
        [Line(*line) for line in lines],
        reserved_before,
    )


def _some_lanes() -> dict[str, Any]:
    return {"start": secrets.token_hex(16), "lanes": _LANES_AT_ONCE, "least": _LEAST_OF_AN_OWNER}


def _is_open(slot: Slot, closed: Set[tuple[str, str]]) -> bool:
    places = ("", ""), (slot.node, ""), (slot.node, slot.name)
    return not slot.trouble and closed.isdisjoint(places)


@dataclass
class _Load:
    """What is at work, counted on while slots are filled."""

    running: Counter[tuple[str, str]]
    """Attempts, by project and owner."""
    room: Counter[str]
    """How many more jobs each project may run."""
    room_in_suite: defaultdict[str, float]
    """How many more jobs of each suite may run; of most suites, and under the name of none, any number."""
    memory: NodeMemory

    @classmethod
    def of(
        cls,
        all_slots: Sequence[Slot],
        most: Mapping[str, int],
        running: Iterable[tuple[str, str, int]],
        promised: Iterable[tuple[str, int]],
    ) -> "_Load":
        """Returns the load of a cluster with these slots. running: attempts by project and owner; promised: bytes by
        node; most: how many jobs of each project may run."""
        room = Counter(most)
        for project, _, count in running:
            room[project] -= count
        counts = Counter({(project, owner): count for project, owner, count in running})
        return cls(counts, room, defaultdict(lambda: math.inf), NodeMemory(all_slots, promised))

    def takes(self, line: Line) -> bool:
        """Tells whether another job of that line may run."""
        return self.room[line.project] > 0 and self.room_in_suite[line.needs.suite] > 0

    def take(self, job: Waiting, slot: Slot, count: int = 1) -> None:
        """Counts the job as running in the slot."""
        self.running[job.of] += count
        self.room[job.line.project] -= count
        self.room_in_suite[job.line.needs.suite] -= count
        self.memory.take(slot, count * job.memory_bytes)

    def give_back(self, job: Waiting, slot: Slot) -> None:
        """Counts it no longer."""
        self.take(job, slot, -1)


@dataclass(frozen=True)
class _Broke:
    """Nodes of this cluster on which queued jobs broke lately, by job; and the open slots of all clusters."""

    cluster: str
    nodes: Mapping[str, Set[tuple[str, str]]]
    """Job → cluster and node, of every cluster."""
    open_slots: Sequence[tuple[str, Slot]]

    def bars(self, job: Waiting, slot: Slot, placed: Placement) -> bool:
        """Tells whether the job broke on the slot's node, and a slot of another node could take it."""
        nodes = self.nodes.get(job.id, set())
        needs = job.line.needs
        return (self.cluster, slot.node) in nodes and any(
            (cluster, other.node) not in nodes
            and needs.fit(other)
            and (cluster == self.cluster or placed.elsewhere(cluster, needs.data))
            for cluster, other in self.open_slots
        )


def _kinds(slots: Sequence[Slot], memory: Callable[[Slot], int]) -> list[tuple[Slot, int]]:
    """Returns one slot of each kind, with that memory: most slots of a cluster are alike."""
    found = {(slot.device, memory(slot), *sorted(slot.labels.items())): (slot, memory(slot)) for slot in slots}
    return list(found.values())


async def _heads(session: AsyncSession, lines: Sequence[Line], count: int) -> list[Waiting]:
    """Returns the first jobs of each line, and the oldest that have gained priority by waiting."""
    if not lines:
        return []
    columns = dict(zip(("lanes", "projects", "owners"), map(list, zip(*lines, strict=True)), strict=True))
    return [Waiting(*row) for row in await session.execute(HEADS, {**columns, "count": count})]


async def _room_in_suites(session: AsyncSession, suites: Set[str]) -> dict[str, int]:
    """How many more jobs of each of these suites may run, where that is limited."""
    running = select(func.count()).where(Job.suite == Suite.id, text(LEASED_JOBS)).scalar_subquery()
    left = select(Suite.id, Suite.max_parallel - running)
    found = await session.execute(left.where(Suite.id.in_(suites), Suite.max_parallel.is_not(None)))
    return {suite: room for suite, room in found}
