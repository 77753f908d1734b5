"""Chooses queued jobs for free slots: by priority, then the owner with the fewest running, then age.

The queue is read lane by lane (jobs of equal needs and owner), of each only its head, and of each owner so many lanes
only: what a look costs depends neither on the number of jobs nor on how many needs somebody makes up.
"""

import math
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Slot
from service.clusters.closures import closures
from service.clusters.fit import open_slots
from service.clusters.placement import Placement
from service.jobs.needs import Needs
from service.jobs.tables import Job
from service.leases.statements import AT_WORK, HEADS, LANES
from service.settings import Settings
from service.suites.tables import Suite

_A_DAY_COUNTS = 10
"""Points of priority that a job gains for each whole day in the queue, so that nobody waits for ever."""

_AVOIDED_S = 600.0
"""For so long after a job broke on a node it is left to other nodes that could take it, busy as they may be."""

_LANES_AT_ONCE = 512
"""So many lanes a claim looks at, of each owner an equal part; more only where there are more owners than that."""
_LEAST_OF_AN_OWNER = 8


class _Line(NamedTuple):
    """Jobs of equal needs and owner, one after the other."""

    lane: str
    project: str
    owner: str

    @property
    def needs(self) -> Needs:
        return Needs.of_lane(self.lane)


class Waiting:
    """A queued job, as far as the choice needs to know it."""

    def __init__(
        self, id: str, lane: str, project: str, owner: str, priority: int, memory_bytes: int | None, days: int
    ):
        self.id = id
        self.line = _Line(lane, project, owner)
        self.of = project, owner
        self.memory_bytes = memory_bytes or 0
        self.aged = priority + _A_DAY_COUNTS * days
        """Priority with what the waiting adds."""


class Queue:
    """The jobs that are due in the free slots of a cluster, as one claim sees them."""

    def __init__(self, slots: Sequence[Slot], load: "_Load", broke: "_Broke", placed: Placement) -> None:
        self._free = list(slots)
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
            self._proposed = await _propose(session, self._free, self._load, self._broke, self._placed, self._settled)
        return {job: slot for job, (_, slot) in self._proposed.items()}

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
    placed: Placement,
) -> Queue:
    """Returns the queue before those of the slots that are open. `placed`: whose data the cluster has."""
    closed = await closures(session, cluster)
    free = [slot for slot in slots if closed.of(cluster, slot) is None and not slot.trouble]
    if not free:
        return Queue([], _Load.of(all_slots, {}, [], []), _Broke(cluster, {}, []), placed)
    values = {"cluster": cluster, "max_running": settings.max_running, "avoided_s": _AVOIDED_S}
    most, running, promised, broke = (await session.execute(AT_WORK, values)).one()
    nodes: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for job, of_cluster, node in broke:
        nodes[job].add((of_cluster, node))
    slots_open = await open_slots(session, settings.worker_seen_s) if nodes else []
    load = _Load.of(all_slots, most, running, promised)
    return Queue(free, load, _Broke(cluster, nodes, slots_open), placed)


@dataclass
class _Load:
    """What is at work, counted on while slots are filled."""

    running: Counter[tuple[str, str]]
    """Attempts, by project and owner."""
    room: Counter[str]
    """How many more jobs each project may run."""
    room_in_suite: defaultdict[str, float]
    """How many more jobs of each suite may run; of most suites, and under the name of none, any number."""
    node_memory: defaultdict[str, int]
    """Memory of each node that no live attempt was promised, whether it has used it yet or not."""

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
        memory: defaultdict[str, int] = defaultdict(int)
        for slot in all_slots:
            if slot.device == "cpu":
                whole = slot.memory_bytes if slot.node_bytes is None else slot.node_bytes
                memory[slot.node] = max(memory[slot.node], whole)
        for node, used in promised:
            memory[node] -= int(used)
        counts = Counter({(project, owner): count for project, owner, count in running})
        return cls(counts, room, defaultdict(lambda: math.inf), memory)

    def memory(self, slot: Slot) -> int:
        """Returns the bytes for a job in that slot; a node's CPU slots share its memory.

        A run may use more than it was promised, or not have come to use it yet: the less of both is there for another.
        """
        return min(slot.memory_bytes, self.node_memory[slot.node]) if slot.device == "cpu" else slot.memory_bytes

    def take(self, job: Waiting, slot: Slot, count: int = 1) -> None:
        """Counts the job as running in the slot."""
        self.running[job.of] += count
        self.room[job.line.project] -= count
        self.room_in_suite[job.line.needs.suite] -= count
        if slot.device == "cpu":
            self.node_memory[slot.node] -= count * job.memory_bytes

    def give_back(self, job: Waiting, slot: Slot) -> None:
        """Counts it no longer."""
        self.take(job, slot, -1)


async def _propose(
    session: AsyncSession,
    slots: Sequence[Slot],
    load: _Load,
    broke: "_Broke",
    placed: Placement,
    without: Set[str],
) -> dict[str, tuple[Waiting, Slot]]:
    some = {"start": secrets.token_hex(16), "lanes": _LANES_AT_ONCE, "least": _LEAST_OF_AN_OWNER}
    lines = [_Line(*row) for row in await session.execute(LANES, some)]
    suites = {line.needs.suite for line in lines if line.needs.suite} - load.room_in_suite.keys()
    if suites:
        load.room_in_suite.update(await _room_in_suites(session, suites))
    kinds = {(slot.device, slot.memory_bytes, *sorted(slot.labels.items())): slot for slot in slots}.values()
    fitting = [
        line
        for line in lines
        if load.room_in_suite[line.needs.suite] > 0
        and any(line.needs.fit(slot) for slot in kinds)
        and placed.takes(line.needs.data)
    ]
    if not fitting:
        return {}
    columns = dict(zip(("lanes", "projects", "owners"), map(list, zip(*fitting, strict=True)), strict=True))
    # so many that enough are left without those that are passed over
    found = await session.execute(HEADS, {**columns, "count": len(slots) + len(without) + len(broke.nodes)})
    jobs = {job.id: job for job in (Waiting(*row) for row in found) if job.id not in without}
    levels: defaultdict[int, defaultdict[tuple[str, str], list[Waiting]]] = defaultdict(lambda: defaultdict(list))
    for _, job in sorted(jobs.items()):
        levels[job.aged][job.of].append(job)
    proposed: dict[str, tuple[Waiting, Slot]] = {}

    def due(slot: Slot) -> Waiting | None:
        """Returns the job of the highest level that the slot can take: of owners with the fewest running the oldest."""
        memory = load.memory(slot)
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
        needs = job.line.needs
        return (
            job.id not in proposed
            and load.room[job.line.project] > 0
            and load.room_in_suite[needs.suite] > 0
            and needs.fit(slot, memory)
            and not broke.bars(job, slot, placed)
        )

    for slot in slots:
        if best := due(slot):
            proposed[best.id] = best, slot
            load.take(best, slot)
    return proposed


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


async def _room_in_suites(session: AsyncSession, suites: Set[str]) -> dict[str, int]:
    """How many more jobs of each of these suites may run, where that is limited."""
    running = select(func.count()).where(Job.suite == Suite.id, Job.lease_expires_at.is_not(None)).scalar_subquery()
    left = select(Suite.id, Suite.max_parallel - running)
    found = await session.execute(left.where(Suite.id.in_(suites), Suite.max_parallel.is_not(None)))
    return {suite: room for suite, room in found}
