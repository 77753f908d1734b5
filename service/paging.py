"""Pages of a table whose ids sort by time, newest first."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault
from service.filters import Filters
from service.problems import Invalid

T = TypeVar("T")


def narrowed(query: Select[T], table: Any, filters: Filters) -> Select[T]:
    """Returns the query over the table with what lists of suites and of studies have in common."""
    for column, value in ((table.project, filters.project), (table.owner, filters.owner)):
        query = query if value is None else query.where(column == value)
    if filters.search is not None:
        query = query.where(table.name.icontains(filters.search, autoescape=True))
    return query if filters.since is None else query.where(table.created_at >= filters.since)


def is_task(said: str, benchmark: Any, task: Any) -> ColumnElement[bool]:
    """Tells whether a benchmark's name and a task's are what `said` says; a user's own name may have a `/` too."""
    first, _, last = said.rpartition("/")
    return or_(task == said, and_(benchmark == first, task == last))


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
