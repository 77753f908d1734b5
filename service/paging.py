"""Pages of a table whose ids sort by time, newest first."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault
from service.problems import Invalid

T = TypeVar("T")


async def newest_first(
    session: AsyncSession, query: Select[T], ids: Any, kind: str, limit: int, after: str | None
) -> tuple[Sequence[T], str | None]:
    """Returns one page of the query, and the cursor of the next one.

    ids: the column of ids, which begin with `kind`. Raises Invalid for a cursor that is no such id.
    """
    query = query.order_by(ids.desc()).limit(limit + 1)
    if after is not None:
        if not after.startswith(f"{kind}_"):
            message = "is not a cursor of this list; start again without it"
            raise Invalid("the request has faults", [Fault(pointer="?after", code="out_of_range", message=message)])
        query = query.where(ids < after)
    found: Sequence[Any] = (await session.execute(query)).scalars().all()
    return found[:limit], found[limit - 1].id if len(found) > limit else None
