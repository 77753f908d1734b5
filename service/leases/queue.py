"""Chooses queued jobs for free slots: by priority, then the owner with the fewest running, then age.

The queue is read lane by lane (jobs of equal needs and owner), of each only its head: what a look costs depends on the
number of lanes, not on that of jobs.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import INFRASTRUCTURE
from pace_core.spec.leases import Slot
from service.clusters.closures import closures
from service.clusters.fit import open_slots
from service.clusters.placement import Placement
from service.jobs.needs import Needs
from service.jobs.tables import INFRASTRUCTURE_ENDS, Attempt, Job
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
    SELECT head.* FROM unnest(CAST(:lanes AS text[]), CAST(:projects AS text[]), CAST(:owners AS text[]))
        AS wanted (lane, project, owner),
    LATERAL (
        (SELECT id, lane, project, owner, priority, memory_bytes, now() - created_at AS waited FROM jobs
         WHERE state = 'queued' AND not_before IS NULL
           AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
         ORDER BY priority DESC, id LIMIT :count)
        UNION
        (SELECT id, lane, project, owner, priority, memory_bytes, now() - created_at AS waited FROM jobs
         WHERE state = 'queued' AND not_before IS NULL
           AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
           AND created_at < now() - interval '1 day'
         ORDER BY created_at LIMIT :count)
    ) AS head
""")


@dataclass(frozen=True)
class Waiting:
    """A queued job, as far as the choice needs to know it."""

    id: str
    lane: str
    project: str
    owner: str
    priority: int
    memory_bytes: int | None
    waited: timedelta

    @property
    def aged(self) -> int:
        """Priority with what the waiting adds."""
        return self.priority + _A_DAY_COUNTS * max(self.waited.days, 0)


async def choose(
    session: AsyncSession,
    cluster: str,
    slots: Sequence[Slot],
    all_slots: Sequence[Slot],
    most: Mapping[str, int],
    seen_s: float,
    placed: Placement,
) -> dict[str, Slot]:
    """Picks and locks the job that is due in each free slot: job → slot. What another claim holds is passed over.

    `most`: how many jobs of each project may run. `seen_s`: a cluster that was heard of within that time is there.
    `placed`: whose data the cluster has.
    """
    closed = await closures(session, cluster)
    free = [slot for slot in slots if closed.of(cluster, slot) is None and not slot.trouble]
    if not free:
        return {}
    load = await _load(session, cluster, all_slots, most)
    broke = await _broke_here(session, cluster, seen_s)
    chosen: dict[str, Slot] = {}
    held: set[str] = set()  # by other claims
    for _ in range(3):  # where another claim was quicker, what it left is looked at once more
        proposed = await _propose(session, free, load, broke, placed, held | chosen.keys())
        locked = await session.execute(
            select(Job.id)
            .where(Job.id.in_(proposed), Job.state == "queued", Job.not_before.is_(None))
            .with_for_update(skip_locked=True)
        )
        ours = set(locked.scalars())
        for job, (waiting, slot) in proposed.items():
            if job in ours:
                chosen[job] = slot
            else:
                held.add(job)
                load.give_back(waiting, slot)
        free = [slot for slot in free if slot not in chosen.values()]
        if not free or ours == proposed.keys():
            break
    return chosen


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

    def memory(self, slot: Slot) -> int:
        """Returns the bytes for a job in that slot; a node's CPU slots share its memory."""
        return min(slot.memory_bytes, self.node_memory[slot.node]) if slot.device == "cpu" else slot.memory_bytes

    def take(self, job: Waiting, slot: Slot, count: int = 1) -> None:
        """Counts the job as running in the slot."""
        self.running[job.project, job.owner] += count
        self.room[job.project] -= count
        self.room_in_suite[Needs.of_lane(job.lane).suite] -= count
        if slot.device == "cpu":
            self.node_memory[slot.node] -= count * (job.memory_bytes or 0)

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
    lanes = [tuple(row) for row in await session.execute(_LANES)]
    suites = {needs.suite for lane in lanes if (needs := Needs.of_lane(lane[0])).suite} - load.room_in_suite.keys()
    if suites:
        load.room_in_suite.update(await _room_in_suites(session, suites))
    fitting = [
        lane
        for lane in lanes
        if load.room_in_suite[(needs := Needs.of_lane(lane[0])).suite] > 0
        and any(needs.fit(slot) for slot in slots)
        and placed.takes(needs.data)
    ]
    if not fitting:
        return {}
    columns = dict(zip(("lanes", "projects", "owners"), map(list, zip(*fitting, strict=True)), strict=True))
    # so many that enough are left without those that are passed over
    found = await session.execute(_HEADS, {**columns, "count": len(slots) + len(without) + len(broke.nodes)})
    waiting = [Waiting(**row) for row in found.mappings() if row["id"] not in without]
    proposed: dict[str, tuple[Waiting, Slot]] = {}
    for slot in slots:
        able = [
            job
            for job in waiting
            if job.id not in proposed
            and load.room[job.project] > 0
            and load.room_in_suite[Needs.of_lane(job.lane).suite] > 0
            and Needs.of_lane(job.lane).fit(slot, load.memory(slot))
            and not broke.bars(job, slot, placed)
        ]
        if able:
            best = min(able, key=lambda job: (-job.aged, load.running[job.project, job.owner], job.id))
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
        needs = Needs.of_lane(job.lane)
        return (self.cluster, slot.node) in nodes and any(
            (cluster, other.node) not in nodes
            and needs.fit(other)
            and (cluster == self.cluster or placed.elsewhere(cluster, needs.data))
            for cluster, other in self.open_slots
        )


async def _broke_here(session: AsyncSession, cluster: str, seen_s: float) -> _Broke:
    lately = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _AVOIDED_S)
    here = (
        select(Attempt.job)
        .join(Job, Job.id == Attempt.job)
        .where(
            Attempt.cluster == cluster,
            text(f"attempts.{INFRASTRUCTURE_ENDS}"),
            Attempt.ended_at > lately,
            Job.state == "queued",
            Job.not_before.is_(None),
        )
    )
    found = await session.execute(
        select(Attempt.job, Attempt.cluster, Attempt.node).where(
            Attempt.job.in_(here), Attempt.reason.in_(INFRASTRUCTURE), Attempt.ended_at > lately
        )
    )
    nodes: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for job, of_cluster, node in found:
        nodes[job].add((of_cluster, node))
    return _Broke(cluster, nodes, await open_slots(session, seen_s) if nodes else [])


async def _load(session: AsyncSession, cluster: str, all_slots: Sequence[Slot], most: Mapping[str, int]) -> _Load:
    counted = await session.execute(
        select(Job.project, Job.owner, func.count())
        .where(Job.lease_expires_at.is_not(None))
        .group_by(Job.project, Job.owner)
    )
    running = Counter({(project, owner): count for project, owner, count in counted})
    room = Counter(most)
    for (project, _), count in running.items():
        room[project] -= count
    memory: defaultdict[str, int] = defaultdict(int)
    for slot in all_slots:
        if slot.device == "cpu":
            memory[slot.node] = max(memory[slot.node], slot.memory_bytes)
    promised = await session.execute(
        select(Attempt.node, func.sum(func.coalesce(Job.memory_bytes, 0)))
        .join(Attempt, (Attempt.job == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.lease_expires_at.is_not(None), Attempt.cluster == cluster, Attempt.device == "cpu")
        .group_by(Attempt.node)
    )
    for node, used in promised:
        memory[node] -= int(used)
    return _Load(running, room, defaultdict(lambda: math.inf), memory)


async def _room_in_suites(session: AsyncSession, suites: Set[str]) -> dict[str, int]:
    """How many more jobs of each of these suites may run, where that is limited."""
    running = select(func.count()).where(Job.suite == Suite.id, Job.lease_expires_at.is_not(None)).scalar_subquery()
    left = select(Suite.id, Suite.max_parallel - running)
    found = await session.execute(left.where(Suite.id.in_(suites), Suite.max_parallel.is_not(None)))
    return {suite: room for suite, room in found}
