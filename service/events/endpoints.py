"""All jobs' events, for readers that project them elsewhere, and those readers' places."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

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
    free = or_(Cursor.holder.is_(None), Cursor.holder == body.holder, Cursor.held_until < func.now())
    taken = held.on_conflict_do_update(
        index_elements=[Cursor.name], set_={"holder": body.holder, "held_until": until}, where=free
    )
    found = (await session.execute(taken.returning(Cursor.position))).scalar_one_or_none()
    if found is None:
        other = await session.get_one(Cursor, name)
        raise CursorHeld(f"{other.holder} fills {name} already; only one process may. If it has ended, wait a minute")
    return CursorView(name=name, position=found)


@router.put("/cursors/{name}", summary="Keep how far a reader has come")
async def put_cursor(session: Transaction, _: Tracking, name: _Name, body: CursorUpdate) -> CursorView:
    """Sets the reader's position. A lower one makes it read again."""
    kept = insert(Cursor).values(name=name, position=body.position)
    await session.execute(kept.on_conflict_do_update(index_elements=[Cursor.name], set_={"position": body.position}))
    if body.position == 0:  # it is filled again, with what comes of no event too
        await session.execute(update(Study).where(Study.tracked).values(tracked=False))
    return CursorView(name=name, position=body.position)
