"""Puts slots and nodes in which jobs break into quarantine: one that fails what it is given would empty the queue."""

from itertools import takewhile

from sqlalchemy import ColumnElement, and_, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import INFRASTRUCTURE
from pace_core.spec.leases import Slot
from service.clusters.closures import close, closures, end_quarantine
from service.clusters.schemas import ClosureKind
from service.clusters.tables import Closure, Cluster
from service.jobs.tables import Attempt

IN_A_ROW = 3
"""So many jobs must have broken in a slot, one after the other."""
FIRST_S = 60.0
"""How long the first quarantine lasts; each further job that breaks doubles it."""
LONGEST_S = 3_600.0
_LOOK_BACK = 50
Place = tuple[str, str, str]
"""Cluster, node and slot; the whole node where the slot is empty."""
_SAY_NOTHING = frozenset({"paused", "cancelled", "timed_out"})  # ends that were asked for: neither good nor bad


async def judge(session: AsyncSession, job: str) -> None:
    """Looks at every slot and node in which attempts of the job broke, one of them just now.

    A job that breaks in a second place too clears the first: then it is the job. The last open slot of a cluster stays
    open. A node is closed as a whole where jobs broke in several of its slots.
    """
    slots = select(Attempt.cluster, Attempt.node, Attempt.slot).where(
        Attempt.job == job, Attempt.reason.in_(INFRASTRUCTURE), Attempt.last_seq > 0
    )
    found = {(cluster, node, slot) for cluster, node, slot in await session.execute(slots.distinct())}
    for place in sorted(found | {(cluster, node, "") for cluster, node, _ in found}):
        broken, in_slots = await _broken_in_a_row(session, place)
        if broken < IN_A_ROW or (not place[2] and in_slots < 2):
            await end_quarantine(session, place)
        elif await _another_is_open(session, place):
            reason = f"{broken} jobs broke there one after the other"
            if not place[2]:
                reason += f", in {in_slots} of its slots"
            for_s = min(FIRST_S * 2.0 ** (broken - IN_A_ROW), LONGEST_S)
            await close(session, place, ClosureKind.QUARANTINED, reason, for_s=for_s)


async def judge_silence(session: AsyncSession, job: str, number: int) -> None:
    """Looks at the slot of an attempt of which nothing was ever heard: where nothing was of those before it either, the
    slot takes jobs and runs none. The jobs have nothing to do with it."""
    of = select(Attempt.cluster, Attempt.node, Attempt.slot).where(Attempt.job == job, Attempt.number == number)
    cluster, node, slot = (await session.execute(of)).one()
    place = cluster, node, slot
    ended = await session.execute(
        select(Attempt.last_seq, Attempt.reason)
        .where(Attempt.cluster == cluster, Attempt.node == node, Attempt.slot == slot, _after_lifted(place))
        .where(Attempt.ended_at.is_not(None), Attempt.reason.not_in(_SAY_NOTHING))
        .order_by(Attempt.ended_at.desc())
        .limit(_LOOK_BACK)
    )
    silent = sum(1 for _ in takewhile(lambda one: one.last_seq == 0 and one.reason in INFRASTRUCTURE, ended))
    if silent >= IN_A_ROW and await _another_is_open(session, place):
        reason = f"nothing was heard of the last {silent} attempts that were given to it"
        for_s = min(FIRST_S * 2.0 ** (silent - IN_A_ROW), LONGEST_S)
        await close(session, place, ClosureKind.QUARANTINED, reason, for_s=for_s)


async def _broken_in_a_row(session: AsyncSession, place: Place) -> tuple[int, int]:
    """Counts the last jobs that broke in the place, with none that went well among them; and the slots they had."""
    cluster, node, slot = place
    within = [Attempt.cluster == cluster, Attempt.node == node]
    if slot:
        within.append(Attempt.slot == slot)
    ended = await session.execute(
        select(Attempt.job, Attempt.slot, Attempt.reason)
        .where(*within, _after_lifted(place), Attempt.last_seq > 0)
        .order_by(Attempt.ended_at.desc())
        .limit(_LOOK_BACK)
    )
    broken: dict[str, str] = {}
    for job, of_slot, reason in ended:
        if reason in INFRASTRUCTURE:
            broken.setdefault(job, of_slot)
        elif reason not in _SAY_NOTHING:
            break
    if len(broken) >= IN_A_ROW:
        elsewhere = await session.execute(
            select(Attempt.job)
            .where(
                Attempt.job.in_(broken),
                Attempt.reason.in_(INFRASTRUCTURE),
                Attempt.last_seq > 0,
                not_(and_(*within)),
            )
            .distinct()
        )
        for job in elsewhere.scalars():
            del broken[job]
    return len(broken), len(set(broken.values()))


def _after_lifted(place: Place) -> ColumnElement[bool]:
    """Whether an attempt ended after an operator had last opened the place."""
    cluster, node, slot = place
    lifted = (
        select(func.max(Closure.lifted_at))
        .where(
            Closure.cluster == cluster,
            Closure.node == node,
            Closure.slot.in_(["", slot]),
            Closure.kind == ClosureKind.QUARANTINED,
        )
        .scalar_subquery()
    )
    return or_(lifted.is_(None), Attempt.ended_at > lifted)


async def _another_is_open(session: AsyncSession, place: Place) -> bool:
    cluster, node, slot = place
    known = (await session.execute(select(Cluster.slots).where(Cluster.name == cluster))).scalar_one_or_none()
    closed = await closures(session, cluster)
    others = [Slot.model_validate(other) for other in known or []]
    return any(
        (other.name != slot if slot else other.node != node) and closed.of(cluster, other) is None for other in others
    )
