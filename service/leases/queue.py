"""Chooses queued jobs for free slots: by priority, then the owner with the fewest running, then age.

The queue is read lane by lane (jobs of equal needs and owner), of each only its head: what a look costs depends on the
number of lanes, not on that of jobs.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Slot
from service.jobs.needs import Needs
from service.jobs.tables import Attempt, Job

_A_DAY_COUNTS = 10
"""Points of priority that a job gains for each whole day in the queue, so that nobody waits for ever."""

# A loose index scan: from each lane straight to the next one, over ix_jobs_lanes.
_LANES = text("""
    WITH RECURSIVE lanes AS (
        (SELECT lane, project, owner FROM jobs WHERE state = 'queued' ORDER BY lane, project, owner LIMIT 1)
        UNION ALL
        SELECT next.* FROM lanes, LATERAL (
            SELECT lane, project, owner FROM jobs
            WHERE state = 'queued' AND (lane, project, owner) > (lanes.lane, lanes.project, lanes.owner)
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
         WHERE state = 'queued' AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
         ORDER BY priority DESC, id LIMIT :count)
        UNION
        (SELECT id, lane, project, owner, priority, memory_bytes, now() - created_at AS waited FROM jobs
         WHERE state = 'queued' AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
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
    session: AsyncSession, cluster: str, slots: Sequence[Slot], all_slots: Sequence[Slot], most: Mapping[str, int]
) -> dict[str, Slot]:
    """Picks and locks the job that is due in each free slot: job → slot. What another claim holds is passed over.

    `most`: how many jobs of each project may run.
    """
    chosen: dict[str, Slot] = {}
    free = list(slots)
    for _ in range(3):  # where another claim was quicker, what it left is looked at once more
        if not free:
            break
        proposed = await _propose(session, cluster, free, all_slots, most, chosen)
        locked = await session.execute(
            select(Job.id).where(Job.id.in_(proposed), Job.state == "queued").with_for_update(skip_locked=True)
        )
        ours = set(locked.scalars())
        got = {job: slot for job, slot in proposed.items() if job in ours}
        chosen |= got
        if len(got) == len(proposed):
            break
        free = [slot for slot in free if slot not in got.values()]
    return chosen


async def _propose(
    session: AsyncSession,
    cluster: str,
    slots: Sequence[Slot],
    all_slots: Sequence[Slot],
    most: Mapping[str, int],
    chosen: dict[str, Slot],
) -> dict[str, Slot]:
    lanes = [tuple(row) for row in await session.execute(_LANES)]
    fitting = [lane for lane in lanes if any(Needs.of_lane(lane[0]).fit(s.device, s.memory_bytes) for s in slots)]
    if not fitting:
        return {}
    columns = dict(zip(("lanes", "projects", "owners"), map(list, zip(*fitting, strict=True)), strict=True))
    found = await session.execute(_HEADS, {**columns, "count": len(slots) + len(chosen)})
    waiting = [Waiting(**row) for row in found.mappings() if row["id"] not in chosen]
    running = await _running(session)
    room = Counter(most)
    for (project, _), count in running.items():
        room[project] -= count
    node_memory = await _memory_by_node(session, cluster, all_slots)
    proposed: dict[str, Slot] = {}
    for slot in slots:
        memory = slot.memory_bytes
        if slot.device == "cpu":  # a node's CPU slots share its memory
            memory = min(memory, node_memory[slot.node])
        able = [
            w
            for w in waiting
            if w.id not in proposed and room[w.project] > 0 and Needs.of_lane(w.lane).fit(slot.device, memory)
        ]
        if not able:
            continue
        best = min(able, key=lambda w: (-w.aged, running[w.project, w.owner], w.id))
        proposed[best.id] = slot
        running[best.project, best.owner] += 1
        room[best.project] -= 1
        if slot.device == "cpu":
            node_memory[slot.node] -= best.memory_bytes or 0
    return proposed


async def _running(session: AsyncSession) -> Counter[tuple[str, str]]:
    """Attempts at work, by project and owner."""
    counted = await session.execute(
        select(Job.project, Job.owner, func.count())
        .where(Job.lease_expires_at.is_not(None))
        .group_by(Job.project, Job.owner)
    )
    return Counter({(project, owner): count for project, owner, count in counted})


async def _memory_by_node(session: AsyncSession, cluster: str, all_slots: Sequence[Slot]) -> defaultdict[str, int]:
    """Memory of each node that no live attempt was promised, whether it has used it yet or not."""
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
    return memory
