"""Chooses queued jobs for free slots: by priority, then the owner with the fewest running, then age.

The queue is read lane by lane (jobs of equal needs and owner), of each only its head: what a look costs depends on the
number of lanes, not on that of jobs.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Slot
from service.clusters.closures import closures
from service.clusters.fit import open_slots
from service.clusters.placement import Placement
from service.jobs.needs import Needs
from service.jobs.tables import INFRASTRUCTURE_ENDS, Job
from service.settings import Settings
from service.suites.tables import Suite

_A_DAY_COUNTS = 10
"""Points of priority that a job gains for each whole day in the queue, so that nobody waits for ever."""

_AVOIDED_S = 600.0
"""For so long after a job broke on a node it is left to other nodes that could take it, busy as they may be."""

# A loose index scan: from each lane straight to the next one, over ix_jobs_lanes.
_LANES = text("""
    WITH RECURSIVE lanes AS (
        (SELECT lane, project, owner FROM jobs WHERE state = 'queued' AND not_before IS NULL
         ORDER BY lane, project, owner LIMIT 1)
        UNION ALL
        SELECT next.* FROM lanes, LATERAL (
            SELECT lane, project, owner FROM jobs
            WHERE state = 'queued' AND not_before IS NULL
              AND (lane, project, owner) > (lanes.lane, lanes.project, lanes.owner)
            ORDER BY lane, project, owner LIMIT 1
        ) AS next
    )
    SELECT lane, project, owner FROM lanes
""")
# The first of each lane, and the oldest that have gained priority by waiting.
_HEADS = text("""
    SELECT id, head.lane, head.project, head.owner, priority, memory_bytes,
           CAST(greatest(extract(day FROM now() - created_at), 0) AS integer)
    FROM unnest(CAST(:lanes AS text[]), CAST(:projects AS text[]), CAST(:owners AS text[]))
        AS wanted (lane, project, owner),
    LATERAL (
        (SELECT id, lane, project, owner, priority, memory_bytes, created_at FROM jobs
         WHERE state = 'queued' AND not_before IS NULL
           AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
         ORDER BY priority DESC, id LIMIT :count)
        UNION
        (SELECT id, lane, project, owner, priority, memory_bytes, created_at FROM jobs
         WHERE state = 'queued' AND not_before IS NULL
           AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
           AND created_at < now() - interval '1 day'
         ORDER BY created_at LIMIT :count)
    ) AS head
""")

# What runs now, by project and owner, and is promised on the cluster's nodes; where queued jobs of it broke lately.
_AT_WORK = text(f"""
    SELECT
        (SELECT coalesce(json_object_agg(name, coalesce(max_running, CAST(:max_running AS integer))), '{{}}')
         FROM projects),
        (SELECT coalesce(json_agg(json_build_array(project, owner, count)), '[]') FROM (
            SELECT project, owner, count(*) AS count FROM jobs WHERE lease_expires_at IS NOT NULL
            GROUP BY project, owner) AS counted),
        (SELECT coalesce(json_agg(json_build_array(node, bytes)), '[]') FROM (
            SELECT node, sum(coalesce(memory_bytes, 0)) AS bytes
            FROM jobs JOIN attempts ON job = jobs.id AND number = jobs.attempt
            WHERE lease_expires_at IS NOT NULL AND cluster = :cluster AND attempts.device = 'cpu'
            GROUP BY node) AS promised),
        (SELECT coalesce(json_agg(json_build_array(job, cluster, node)), '[]') FROM attempts
         WHERE {INFRASTRUCTURE_ENDS} AND ended_at > now() - make_interval(secs => :avoided_s) AND job IN (
            SELECT job FROM attempts JOIN jobs ON jobs.id = job
            WHERE cluster = :cluster AND attempts.{INFRASTRUCTURE_ENDS}
              AND attempts.ended_at > now() - make_interval(secs => :avoided_s)
              AND state = 'queued' AND not_before IS NULL))
""")


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
    most, running, promised, broke = (await session.execute(_AT_WORK, values)).one()
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
                memory[slot.node] = max(memory[slot.node], slot.memory_bytes)
        for node, used in promised:
            memory[node] -= int(used)
        counts = Counter({(project, owner): count for project, owner, count in running})
        return cls(counts, room, defaultdict(lambda: math.inf), memory)

    def memory(self, slot: Slot) -> int:
        """Returns the bytes for a job in that slot; a node's CPU slots share its memory."""
        return min(slot.memory_bytes, self.node_memory[slot.node]) if slot.device == "cpu" else slot.memory_bytes

    def take(self, job: Waiting, slot: Slot, count: int = 1) -> None:
        """Counts the job as running in the slot."""
        self.running[job.line.project, job.line.owner] += count
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
    lines = [_Line(*row) for row in await session.execute(_LANES)]
    suites = {line.needs.suite for line in lines if line.needs.suite} - load.room_in_suite.keys()
    if suites:
        load.room_in_suite.update(await _room_in_suites(session, suites))
    fitting = [
        line
        for line in lines
        if load.room_in_suite[line.needs.suite] > 0
        and any(line.needs.fit(slot) for slot in slots)
        and placed.takes(line.needs.data)
    ]
    if not fitting:
        return {}
    columns = dict(zip(("lanes", "projects", "owners"), map(list, zip(*fitting, strict=True)), strict=True))
    # so many that enough are left without those that are passed over
    found = await session.execute(_HEADS, {**columns, "count": len(slots) + len(without) + len(broke.nodes)})
    waiting: defaultdict[_Line, dict[str, Waiting]] = defaultdict(dict)
    for job in (Waiting(*row) for row in found):
        if job.id not in without:
            waiting[job.line][job.id] = job
    heads = {line: sorted(jobs.values(), key=lambda job: (-job.aged, job.id)) for line, jobs in waiting.items()}
    proposed: dict[str, tuple[Waiting, Slot]] = {}
    for slot in slots:
        due = [
            next((job for job in jobs if not broke.bars(job, slot, placed)), None)
            for line, jobs in heads.items()
            if load.room[line.project] > 0
            and load.room_in_suite[line.needs.suite] > 0
            and line.needs.fit(slot, load.memory(slot))
        ]
        able = [job for job in due if job]
        if able:
            best = min(able, key=lambda job: (-job.aged, load.running[job.line.project, job.line.owner], job.id))
            proposed[best.id] = best, slot
            heads[best.line].remove(best)
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
