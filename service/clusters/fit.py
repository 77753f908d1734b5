"""Reasons why a queued job waits: whether any cluster that is there could run it at all."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import BENCHMARK_DATA, Slot
from service.clusters.closures import Closures, closures
from service.clusters.needs import Needs
from service.clusters.tables import Cluster


class Slots:
    """Every slot of the clusters that are there; of all seen so far where none is (`away`)."""

    def __init__(self, clusters: Sequence[Cluster], closed: Closures, away: bool, gone: Sequence[Cluster] = ()) -> None:
        self._slots = [(cluster.name, Slot.model_validate(slot)) for cluster in clusters for slot in cluster.slots]
        self._closed = closed
        self._last_seen = max((cluster.seen_at for cluster in clusters), default=None)
        self._away = away and self._last_seen is not None
        self._data = {cluster.name: cluster.data for cluster in clusters}
        self._data_gone = {cluster.name: cluster.data for cluster in gone}
        self._reserved = {
            (cluster.name, cluster.reserved["node"]): cluster.reserved["job"]
            for cluster in clusters
            if cluster.reserved
        }

    def waiting_for(self, job: str, needs: Needs, not_before: datetime | None) -> str:
        """Says in a sentence what a queued job with these needs waits for."""
        if lacking := self.lacking(needs):
            return lacking
        if self._away:
            return f"a worker: none was heard of since {self._last_seen:%Y-%m-%d %H:%M:%S} UTC"
        if not_before is not None:
            return f"its next attempt, not before {not_before:%H:%M:%S} UTC, since the last one broke"
        return self._without_data(needs.data) or self._closed_to(needs) or self._kept(job, needs) or "a free slot"

    def _kept(self, job: str, needs: Needs) -> str | None:
        """Says which node takes only large jobs for now, if that is what the job waits for."""
        for (cluster, node), large in self._reserved.items():
            if large == job:
                memory = f"{needs.memory_bytes / 2**30:.1f} GiB of memory"
                return f"{memory} on node {node} of {cluster}, which is kept for it from the jobs behind it"
            if any((cluster, node) == (name, slot.node) and needs.fit(slot) for name, slot in self._slots):
                return f"a free slot; node {node} of {cluster} is kept for a larger job that has waited for long"
        return None

    def _without_data(self, path: str) -> str | None:
        """Says where the data are, unless a cluster that is there has them, or is the only one and will say itself."""
        if not path or len(self._data) < 2 or any(has.get(path) is not False for has in self._data.values()):
            return None
        had = sorted(name for name, has in self._data_gone.items() if has.get(path) is True)
        where = f"{' and '.join(had)} had them, but was not heard of lately" if had else "none of them has them"
        if (name := path.removeprefix(BENCHMARK_DATA)) != path:
            return (
                f"a cluster that has the data of {name}: of the {len(self._data)} that are there {where}; say on its "
                f"machines where they lie: `pace data add {name} FOLDER`"
            )
        return (
            f"a cluster that has its data {path}: of the {len(self._data)} that are there {where}; copy them below a "
            "root of its workers (PACE_DATA_ROOTS)"
        )

    def fitting(self, needs: Needs | None) -> int:
        """Counts the slots that could run a job with these needs now; all of them where None."""
        if self._away:
            return 0
        return sum(not slot.trouble and (needs is None or needs.fit(slot)) for _, slot in self._slots)

    def lacking(self, needs: Needs) -> str | None:
        """Says what no slot seen so far has; None where one could run it."""
        if not self._slots:
            return (
                "a worker: none has connected yet; that of `pace up` takes up to a minute, "
                "others start with `python -m worker dispatch`"
            )
        slots = [slot for _, slot in self._slots if needs.device in ("auto", slot.device)]
        if not slots:
            have = ", ".join(sorted({slot.device for _, slot in self._slots}))
            return f"a slot with device {needs.device}: workers seen so far have {have} only; see resources.device"
        for label, value in needs.requires:
            have = ", ".join(sorted({f"{label}={slot.labels[label]}" for slot in slots if label in slot.labels}))
            slots = [slot for slot in slots if slot.labels.get(label) == value]
            if not slots:
                others = f"workers seen so far have {have} only" if have else f"no worker seen so far has a {label}"
                return f"a slot labelled {label}={value}: {others}; see resources.requires and `pace workers`"
        largest = max((slot.node_bytes or slot.memory_bytes for slot in slots if not slot.trouble), default=None)
        if largest is not None and needs.memory_bytes > largest:
            asked, most = needs.memory_bytes / 2**30, largest / 2**30
            return (
                f"a slot with {asked:.1f} GiB free: the largest seen so far has {most:.1f} GiB; "
                "set training.micro_batch, or resources.memory_gib where the estimate is too high"
            )
        return None

    def _closed_to(self, needs: Needs) -> str | None:
        why: list[str] = []
        for cluster, slot in self._slots:
            if needs.data and len(self._data) > 1 and self._data[cluster].get(needs.data) is False:
                continue
            if not needs.fit(slot, needs.memory_bytes if slot.trouble else None):  # its memory may not be known
                continue
            closure = self._closed.of(cluster, slot)
            if closure is None and not slot.trouble:
                return None
            why.append(f"{closure.kind}: {closure.reason}" if closure else slot.trouble)
        return f"a slot that takes jobs: {why[0]}; `pace workers` names all" if why else None


async def seen_slots(session: AsyncSession, seen_s: float) -> Slots:
    """Lists the slots of the clusters that asked for work within the last `seen_s`, else of all that ever did."""
    found = list(await session.execute(select(Cluster, there(seen_s).label("there"))))
    seen = [cluster for cluster, is_there in found if is_there]
    gone = [cluster for cluster, is_there in found if not is_there]
    return Slots(seen or gone, await closures(session), away=not seen, gone=gone if seen else [])


async def open_slots(session: AsyncSession, seen_s: float) -> list[tuple[str, Slot]]:
    """Lists the slots that take jobs, with their clusters' names."""
    closed = await closures(session)
    found = await session.execute(select(Cluster.name, Cluster.slots).where(there(seen_s)))
    known = [(name, Slot.model_validate(slot)) for name, slots in found for slot in slots]
    return [(name, slot) for name, slot in known if not slot.trouble and closed.of(name, slot) is None]


def there(seen_s: float) -> ColumnElement[bool]:
    """Tells whether the cluster was heard of within the last `seen_s`, by the database's clock."""
    return Cluster.seen_at >= func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seen_s)
