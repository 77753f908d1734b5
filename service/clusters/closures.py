"""Closures of what takes no jobs for now: drained by an operator, or in quarantine."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Slot
from service.clusters.schemas import ClosureKind
from service.clusters.tables import Closure
from service.wake import SUPPLY, notify


class Closures:
    """The closures of one or all clusters that hold now."""

    def __init__(self, found: Iterable[Closure]) -> None:
        self._by_place = {(closure.cluster, closure.node, closure.slot, closure.kind): closure for closure in found}

    def of(self, cluster: str, slot: Slot) -> Closure | None:
        """Returns what keeps that slot from taking jobs: the cluster's closure, its node's or its own."""
        for node, name in (("", ""), (slot.node, ""), (slot.node, slot.name)):
            for kind in ClosureKind:
                if found := self._by_place.get((cluster, node, name, kind)):
                    return found
        return None

    def of_cluster(self, cluster: str) -> Closure | None:
        """Returns what keeps the whole cluster from taking jobs."""
        return self._by_place.get((cluster, "", "", ClosureKind.DRAINED))


async def closures(session: AsyncSession, cluster: str | None = None) -> Closures:
    """Returns what is closed now, in that cluster or anywhere."""
    holding = select(Closure).where(_holds())
    if cluster is not None:
        holding = holding.where(Closure.cluster == cluster)
    return Closures((await session.execute(holding)).scalars())


async def close(
    session: AsyncSession,
    place: tuple[str, str, str],
    kind: ClosureKind,
    reason: str,
    *,
    owner: str = "",
    for_s: float | None = None,
) -> None:
    """Closes a place (cluster, node, slot), or says anew why and for how long it is closed."""
    until = None if for_s is None else func.now() + func.make_interval(0, 0, 0, 0, 0, 0, for_s)
    said = {"reason": reason, "owner": owner, "since": func.now(), "until": until}
    cluster, node, slot = place
    row = insert(Closure).values(cluster=cluster, node=node, slot=slot, kind=kind, **said)
    await session.execute(row.on_conflict_do_update(index_elements=list(Closure.__table__.primary_key), set_=said))
    notify(session, SUPPLY)


async def end_quarantine(session: AsyncSession, place: tuple[str, str, str]) -> None:
    """Ends the quarantine of that one slot, which turned out to be unfounded."""
    cluster, node, slot = place
    of_it = (Closure.cluster == cluster, Closure.node == node, Closure.slot == slot)
    await session.execute(
        update(Closure).where(*of_it, Closure.kind == ClosureKind.QUARANTINED, _holds()).values(until=func.now())
    )
    notify(session, SUPPLY)


async def open_again(session: AsyncSession, place: tuple[str, str, str]) -> int:
    """Ends the drain of the place itself and every quarantine in it; how many closures that were."""
    cluster, node, slot = place
    exactly = (Closure.kind == ClosureKind.DRAINED) & (Closure.node == node) & (Closure.slot == slot)
    quarantine = Closure.kind == ClosureKind.QUARANTINED
    if node:
        quarantine &= Closure.node == node
    if slot:
        quarantine &= Closure.slot == slot
    ended = await session.execute(
        update(Closure)
        .where(Closure.cluster == cluster, _holds(), or_(exactly, quarantine))
        .values(until=func.now(), lifted_at=func.now())
        .returning(Closure.kind)
    )
    notify(session, SUPPLY)
    return len(ended.all())


def _holds() -> ColumnElement[bool]:
    return or_(Closure.until.is_(None), Closure.until > func.now())
