"""All jobs' events, for readers that project them elsewhere, and those readers' places."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.audit.log import record
from service.db import Database, Transaction
from service.events.queries import of_all
from service.events.schemas import CursorHold, CursorUpdate, CursorView, DeletionPage, PlacedEvent, PlacedEventPage
from service.events.tables import Cursor, DeletedJob
from service.keys.auth import Tracking, still_valid
from service.keys.secrets import topic
from service.problems import CursorHeld
from service.studies.tables import Study
from service.wake import EVENTS, Wakes

router = APIRouter(prefix="/v1", tags=["tracking"])

_DELETIONS = 1_000
_free = or_(Cursor.holder.is_(None), Cursor.held_until < func.now())
_Name = Annotated[str, Path(pattern=r"^[a-z0-9_.-]{1,100}$")]


@router.get("/events", summary="Events of all jobs, in one order")
async def get_all_events(
    request: Request,
    caller: Tracking,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    wait: Annotated[float, Query(ge=0, le=60)] = 0.0,
) -> PlacedEventPage:
    """Lists events; a reader that goes on from `next_cursor` misses nothing. With `wait`, waits until there is one."""
    database: Database = request.app.state.database
    wakes: Wakes = request.app.state.wakes

    async def look(last: bool) -> PlacedEventPage | None:
        await still_valid(database, caller)
        async with database.transaction() as session:
            found = [PlacedEvent.model_validate(row) for row in await of_all(session, after, limit)]
        if not (found or last):
            return None
        cursor = found[-1].position if found else after
        return PlacedEventPage(data=found, has_more=len(found) == limit, next_cursor=cursor)

    return await wakes.poll((EVENTS, topic(caller.key_id)), wait, look)


@router.get("/deletions", summary="Jobs that were deleted lately")
async def get_deletions(
    session: Transaction, _: Tracking, after: Annotated[str, Query(max_length=100)] = ""
) -> DeletionPage:
    """Lists the ids of the jobs deleted within a week, so that what was made of their events can go too."""
    found = await session.execute(
        select(DeletedJob.id).where(DeletedJob.id > after).order_by(DeletedJob.id).limit(_DELETIONS)
    )
    ids = list(found.scalars())
    return DeletionPage(data=ids, has_more=len(ids) == _DELETIONS, next_cursor=ids[-1] if ids else after)


@router.get("/cursors/{name}", summary="How far a reader has come")
async def get_cursor(session: Transaction, _: Tracking, name: _Name) -> CursorView:
    """Returns the reader's position; 0 for one that has set none."""
    found = await session.get(Cursor, name)
    return CursorView.model_validate(found) if found else CursorView(name=name, position=0)


@router.put("/cursors/{name}/holder", summary="Be the one process that reads")
async def hold_cursor(session: Transaction, _: Tracking, name: _Name, body: CursorHold) -> CursorView:
    """Takes or renews the cursor for `for_s` seconds; 409 while another process holds it."""
    until = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, body.for_s)
    held = insert(Cursor).values(name=name, position=0, holder=body.holder, held_until=until)
    free = or_(Cursor.holder == body.holder, _free)
    taken = held.on_conflict_do_update(
        index_elements=[Cursor.name], set_={"holder": body.holder, "held_until": until}, where=free
    )
    found = (await session.execute(taken.returning(Cursor.position))).scalar_one_or_none()
    if found is None:
        raise await _held_by_another(session, name)
    return CursorView(name=name, position=found)


@router.put("/cursors/{name}", summary="Keep how far a reader has come")
async def put_cursor(
    request: Request, session: Transaction, caller: Tracking, name: _Name, body: CursorUpdate
) -> CursorView:
    """Sets the reader's position; a lower one makes it read again. 409 while another process than the `holder` named
    here holds the cursor, unless to 0, at which that process begins again."""
    kept = insert(Cursor).values(name=name, position=body.position)
    mine = true() if body.position == 0 else _free if body.holder is None else Cursor.holder == body.holder
    moved = kept.on_conflict_do_update(index_elements=[Cursor.name], set_={"position": body.position}, where=mine)
    if (await session.execute(moved.returning(Cursor.name))).scalar_one_or_none() is None:
        raise await _held_by_another(session, name)
    if body.position == 0:  # it is filled again, with what comes of no event too
        await session.execute(update(Study).where(Study.tracked).values(tracked=False))
    if body.holder is None:  # not the process that reads, which does so all the time
        record(session, request, caller, "cursor.move", name, position=body.position)
    return CursorView(name=name, position=body.position)


async def _held_by_another(session: AsyncSession, name: str) -> CursorHeld:
    other = (await session.get_one(Cursor, name)).holder or "another process"
    shown = other.rpartition("/")[0] or other  # its whole name is what it shows that it is the one by
    return CursorHeld(
        f"{shown} fills {name}; only one process may. If it has ended, wait a minute; position 0 lets it begin again"
    )
