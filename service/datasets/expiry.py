"""Uploads that nobody goes on with."""

from sqlalchemy import func, select

from service.datasets import parts
from service.datasets.tables import Dataset
from service.db import Database

_AT_ONCE = 100


async def expire(database: Database, storage_root: str, keep_s: float) -> int:
    """Deletes some of the unfinished uploads of which nothing came for so long, with their parts; how many.

    Parts go first: who dies between the two leaves an upload that begins anew, and no files that nobody knows.
    """
    async with database.transaction() as session:
        since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, keep_s)
        query = select(Dataset).where(Dataset.completed_at.is_(None), Dataset.touched_at < since)
        found = (await session.execute(query.limit(_AT_ONCE).with_for_update(skip_locked=True))).scalars().all()
        for dataset in found:
            await parts.delete(storage_root, dataset.id)
            await session.delete(dataset)
        return len(found)
