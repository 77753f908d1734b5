"""Puts slots in which jobs break into quarantine: a slot that fails what it is given would empty the queue."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import INFRASTRUCTURE
from pace_core.spec.leases import Slot
from service.clusters.closures import close, closures, end_quarantine
from service.clusters.schemas import Kind
from service.clusters.tables import Closure, Cluster
from service.jobs.tables import Attempt

IN_A_ROW = 3
"""So many jobs must have broken in a slot, one after the other."""
FIRST_S = 60.0
"""How long the first quarantine lasts; each further job that breaks doubles it."""
LONGEST_S = 3_600.0
_LOOK_BACK = 50
_SAY_NOTHING = frozenset({"paused", "cancelled", "timed_out"})  # ends that were asked for: neither good nor bad


async def judge(session: AsyncSession, job: str) -> None:
    """Looks at every slot in which attempts of the job broke, one of them just now.

    A job that breaks in a second slot too clears the first: then it is the job. The last open slot of a cluster stays
    open.
    """
    slots = select(Attempt.cluster, Attempt.node, Attempt.slot).where(
        Attempt.job == job, Attempt.reason.in_(INFRASTRUCTURE), Attempt.last_seq > 0
    )
    for cluster, node, slot in sorted(tuple(row) for row in await session.execute(slots.distinct())):
        place = cluster, node, slot
        broken = await _broken_in_a_row(session, cluster, node, slot)
        if broken < IN_A_ROW:
            await end_quarantine(session, place)
        elif await _another_is_open(session, cluster, slot):
            reason = f"{broken} jobs broke there one after the other"
            for_s = min(FIRST_S * 2.0 ** (broken - IN_A_ROW), LONGEST_S)
            await close(session, place, Kind.QUARANTINED, reason, for_s=for_s)


async def _broken_in_a_row(session: AsyncSession, cluster: str, node: str, slot: str) -> int:
    lifted = (
        select(Closure.lifted_at)
        .where(
            Closure.cluster == cluster,
            Closure.node == node,
            Closure.slot == slot,
            Closure.kind == Kind.QUARANTINED,
        )
        .scalar_subquery()
    )
    ended = await session.execute(
        select(Attempt.job, Attempt.reason)
        .where(
            Attempt.cluster == cluster,
            Attempt.slot == slot,
            or_(lifted.is_(None), Attempt.ended_at > lifted),
            Attempt.last_seq > 0,
        )
        .order_by(Attempt.ended_at.desc())
        .limit(_LOOK_BACK)
    )
    broken: set[str] = set()
    for job, reason in ended:
        if reason in INFRASTRUCTURE:
            broken.add(job)
        elif reason not in _SAY_NOTHING:
            break
    if len(broken) < IN_A_ROW:
        return len(broken)
    elsewhere = await session.execute(
        select(Attempt.job)
        .where(
            Attempt.job.in_(broken),
            Attempt.reason.in_(INFRASTRUCTURE),
            Attempt.last_seq > 0,
            or_(Attempt.cluster != cluster, Attempt.slot != slot),
        )
        .distinct()
    )
    return len(broken - set(elsewhere.scalars()))


async def _another_is_open(session: AsyncSession, cluster: str, slot: str) -> bool:
    known = (await session.execute(select(Cluster.slots).where(Cluster.name == cluster))).scalar_one_or_none()
    closed = await closures(session, cluster)
    others = [Slot.model_validate(other) for other in known or []]
    return any(other.name != slot and closed.of(cluster, other) is None for other in others)
