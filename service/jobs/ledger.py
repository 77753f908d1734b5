"""The only writer of a job's state: one function a verb, each one guarded UPDATE.

A verb returns False where the job was not in a state from which the move goes, or its attempt was another: the race
is lost and nothing was written. Otherwise the move's event stands in the same transaction.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Table, Text, and_, extract, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import LEASED, MOVES, REASONS, EventType, State
from service.events.log import NewEvent, from_service, storable, store
from service.events.tables import JobEvent
from service.jobs.statements import CLAIM, GIVEN, HEAR, SUBMIT
from service.jobs.tables import Attempt, Job
from service.wake import APPENDED, QUEUE, SUPPLY, notify

_JOBS, _ATTEMPTS, _EVENTS = (cast(Table, kind.__table__) for kind in (Job, Attempt, JobEvent))


@dataclass(frozen=True)
class End:
    """End of an attempt."""

    reason: str
    """Key of `lifecycle.REASONS`."""
    message: str
    by_report: bool
    """Whether the attempt said so itself."""


class Submission(NamedTuple):
    """A new job, and what is stored with it or not at all."""

    job: Job
    audit: dict[str, Any] | None = None
    """Columns of its entry in the audit."""
    once: dict[str, Any] | None = None
    """Columns of its idempotency key: where that was taken already, nothing is stored."""


async def submit(session: AsyncSession, job: Job) -> None:
    """Adds a new job: queued, with its first event."""
    await submit_all(session, [Submission(job)])


async def submit_all(session: AsyncSession, submissions: Sequence[Submission]) -> dict[str, datetime]:
    """Adds new jobs, each queued and with its first event, in one statement: all of them or none, except those whose
    idempotency key is taken. Returns when each that was added was, by its id."""
    if not submissions:
        return {}
    given: list[dict[str, Any]] = []
    for job, audit, once in submissions:
        columns = {name: getattr(job, name) for name in GIVEN}
        given.append(columns | {"audit": audit, "once": once})
    if session.new:  # the suite or study that they name
        await session.flush()
    made = await session.execute(SUBMIT, {"given": json.dumps(given)})
    created = {job: created_at for job, created_at in made}
    notify(session, QUEUE, APPENDED, *created)
    return created


@dataclass(frozen=True)
class Claimed:
    """The part of a job that its new attempt must know."""

    attempt: int
    event_count: int
    spec: dict[str, Any]
    init_uri: str | None
    max_runtime_s: float | None
    runtime_s: float
    earlier: list[str]
    """Folders of the attempts before, newest first."""


def folder_of(storage_root: str, job: str, attempt: int) -> str:
    """Returns the place where an attempt keeps its files."""
    return f"{storage_root}/jobs/{job}/{attempt}"


async def claim(
    session: AsyncSession, abouts: Mapping[str, Mapping[str, str]], lease_s: float, storage_root: str
) -> dict[str, Claimed]:
    """Begins a new attempt of each job, which fences the one before it. Lost ones are absent in the answer.

    `abouts` says of each job by whom: cluster, slot, node, device, and the hash of the lease's token.
    """
    move = MOVES["claim"]
    values = {
        "given": json.dumps([{"job": job, **about} for job, about in abouts.items()]),
        "sources": [str(source) for source in move.sources],
        "target": str(move.target),
        "lease_s": lease_s,
        "folders": f"{storage_root}/jobs",
    }
    claimed = {row.pop("id"): Claimed(**row) for row in map(dict, (await session.execute(CLAIM, values)).mappings())}
    if claimed:
        notify(session, APPENDED, SUPPLY, *claimed)
    return claimed


class Said(NamedTuple):
    """The words of an attempt, and the right with which it says them."""

    job: str
    attempt: int
    cluster: str
    token_hash: str
    """Of its lease."""
    after: int | None = None
    """Number of the event that its new ones follow; None where it has none."""
    events: Sequence[NewEvent] = ()
    progress: dict[str, Any] | None = None


class Heard(NamedTuple):
    """An attempt that was heard, and what was asked of it."""

    last_seq: int
    """Number of its newest stored event."""
    evicted: bool
    cancel: bool
    pause: bool
    timed_out: bool


async def begin(session: AsyncSession, said: Said, lease_s: float) -> Heard | None:
    """Marks the attempt as running, at its first events, which are stored, and renews its lease.

    Returns None, and has changed nothing, where it is not the job's current one, has begun, or does not show its token.
    """
    move = MOVES["begin"]
    moved = from_service(said.attempt, {"move": move.name, "state": move.target, "attempt": said.attempt})
    said = said._replace(events=[moved, *said.events])
    return await _hear(session, said, lease_s, 0.0, move.sources, move.target)


async def hear(session: AsyncSession, said: Said, lease_s: float, rest_s: float = 0.0) -> Heard | None:
    """Renews the attempt's lease at a sign of life, and stores its new events. Moves nothing.

    Where there are none, a lease that was renewed within `rest_s` stays as it is. Returns None, and has changed
    nothing, where the attempt is not the job's current one, is over, does not show its token, or other events came
    before these.
    """
    return await _hear(session, said, lease_s, rest_s, LEASED)


async def pause(session: AsyncSession, job: str, attempt: int, end: End, failed: bool = False) -> bool:
    """Pauses a job whose attempt stopped as asked, or was lost (`failed`) while a pause was asked for."""
    values = {
        "pause_requested_at": None,
        "reason": end.reason,
        "message": end.message,
        "failures": Job.failures + (1 if failed else 0),
    }
    return await _end_attempt(session, job, "pause", attempt, end, values)


async def requeue(
    session: AsyncSession, job: str, attempt: int, end: End, failed: bool = True, delay_s: float = 0.0
) -> bool:
    """Queues a job for another attempt after `delay_s`; `failed`: whether the last one counts against max_attempts."""
    values = {
        "reason": end.reason,
        "message": end.message,
        "failures": Job.failures + (1 if failed else 0),
        "not_before": _in(delay_s) if delay_s > 0 else None,
    }
    if not await _end_attempt(session, job, "requeue", attempt, end, values):
        return False
    notify(session, QUEUE)
    return True


async def succeed(
    session: AsyncSession,
    job: str,
    attempt: int,
    end: End,
    result: dict[str, Any],
    cell: str | None,
    value: float | None = None,
) -> bool:
    """Ends a job whose run finished; `value` is the number that tables show of it."""
    values = {
        "reason": end.reason,
        "message": end.message,
        "result": result,
        "cell": cell,
        "value": value,
        "ended_at": func.now(),
    }
    return await _end_attempt(session, job, "succeed", attempt, end, values)


async def fail(session: AsyncSession, job: str, attempt: int, end: End) -> bool:
    """Ends a job that another attempt would not help, or that has none left."""
    counted = Job.failures + (1 if REASONS[end.reason].retryable else 0)
    values = {"reason": end.reason, "message": end.message, "failures": counted, "ended_at": func.now()}
    return await _end_attempt(session, job, "fail", attempt, end, values)


async def cancel(session: AsyncSession, job: str, attempt: int, end: End) -> bool:
    """Ends a job whose attempt stopped because it was to be cancelled."""
    values = {"reason": "cancelled", "message": end.message, "ended_at": func.now()}
    return await _end_attempt(session, job, "cancel", attempt, end, values)


async def cancel_idle(session: AsyncSession, job: str) -> bool:
    """Cancels a job that no worker holds."""
    return bool(await cancel_all_idle(session, [job], REASONS["cancelled"].sentence))


async def cancel_all_idle(session: AsyncSession, jobs: Collection[str], message: str) -> list[str]:
    """Cancels those of the jobs that no worker holds, and returns them."""
    move = MOVES["cancel"]
    moved = await session.execute(
        update(Job)
        .where(Job.id.in_(jobs), Job.state.in_(move.sources - LEASED))
        .values(
            state=move.target,
            event_count=Job.event_count + 1,
            reason="cancelled",
            message=message,
            ended_at=func.now(),
            cancel_requested_at=func.coalesce(Job.cancel_requested_at, func.now()),
            not_before=None,
        )
        .returning(Job.id, Job.attempt, Job.event_count)
    )
    said = {"move": move.name, "state": move.target, "reason": "cancelled", "message": message}
    rows = moved.all()
    if rows:
        await store(
            session, [(job, n, [from_service(attempt, said | {"attempt": attempt})]) for job, attempt, n in rows]
        )
    return [job for job, _, _ in rows]


async def hold(session: AsyncSession, job: str) -> bool:
    """Pauses a job that waits in the queue."""
    return await _move(session, job, "hold", {"pause_requested_at": None, "not_before": None}) is not None


async def resume(session: AsyncSession, job: str) -> bool:
    """Queues a paused job again."""
    values = {"pause_requested_at": None, "reason": None, "message": None}
    if await _move(session, job, "resume", values) is None:
        return False
    notify(session, QUEUE)
    return True


async def let_in(session: AsyncSession) -> bool:
    """Puts the jobs whose delay is over back into their lines; whether there were any."""
    due = select(Job.id).where(Job.not_before <= func.now()).with_for_update(skip_locked=True)
    moved = await session.execute(update(Job).where(Job.id.in_(due)).values(not_before=None).returning(Job.id))
    if moved.first() is None:
        return False
    notify(session, QUEUE)
    return True


async def request(session: AsyncSession, job: str, **requests: bool) -> bool:
    """Writes what is asked of the worker that holds the job: `cancel=True`, `pause=True` or `pause=False`."""
    return await request_all(session, [job], **requests) > 0


async def request_all(session: AsyncSession, jobs: Collection[str], **requests: bool) -> int:
    """Does `request` for many jobs; returns how many of them a worker holds."""
    values = {
        f"{name}_requested_at": func.coalesce(getattr(Job, f"{name}_requested_at"), func.now()) if wanted else None
        for name, wanted in requests.items()
    }
    asked = await session.execute(
        update(Job).where(Job.id.in_(jobs), Job.state.in_(LEASED)).values(**values).returning(Job.id)
    )
    return len(asked.all())


async def _hear(
    session: AsyncSession,
    said: Said,
    lease_s: float,
    rest_s: float,
    sources: Collection[State],
    target: State | None = None,
) -> Heard | None:
    events = [  # our own, which have no seq, by the database's clock
        {"seq": e.seq, "at": e.seq and e.at.isoformat(), "type": str(e.type), "data": e.data} for e in said.events
    ]
    values = {
        "job": said.job,
        "attempt": said.attempt,
        "cluster": said.cluster,
        "token_hash": said.token_hash,
        "after": said.after,
        "sources": [str(state) for state in sources],
        "target": None if target is None else str(target),
        "lease_s": lease_s,
        "rest_s": rest_s,
        "count": len(events),
        "events": json.dumps(events),
        "last_seq": said.events[-1].seq if events else None,
        "progress": None if said.progress is None else json.dumps(said.progress),
    }
    heard = (await session.execute(HEAR, values)).one_or_none()
    if heard is None:
        return None
    if events:
        notify(session, APPENDED, said.job)
    return Heard(*heard)


async def _end_attempt(
    session: AsyncSession, job: str, move: str, attempt: int, end: End, values: dict[str, Any]
) -> bool:
    spent = (
        select(func.greatest(extract("epoch", func.now() - Attempt.started_at), 0.0))  # a clock may be set back
        .where(Attempt.job == job, Attempt.number == attempt)
        .scalar_subquery()
    )
    values |= {"lease_expires_at": None, "runtime_s": Job.runtime_s + func.coalesce(spent, 0.0)}
    ended = {"ended_at": func.now(), "reason": end.reason, "message": end.message, "said_end": end.by_report}
    if await _move(session, job, move, values, attempt=attempt, of_attempt=ended) is None:
        return False
    notify(session, SUPPLY)
    return True


async def _move(
    session: AsyncSession,
    job: str,
    name: str,
    values: dict[str, Any],
    *,
    attempt: int | None = None,
    of_attempt: Mapping[str, Any] | None = None,
) -> int | None:
    """The attempt's number after the move; None where the guard let nothing through. The event is written in the same
    statement, and so is what changes of the attempt."""
    move = MOVES[name]
    guard: list[ColumnElement[bool]] = [Job.id == job, Job.state.in_(move.sources)]
    if attempt is not None:
        guard.append(Job.attempt == attempt)
    moved = (
        update(_JOBS)
        .where(and_(*guard))
        .values(state=move.target, event_count=Job.event_count + 1, **values)
        .returning(Job.id, Job.attempt, Job.event_count)
        .cte("moved")
    )
    said = {"move": name, "state": move.target}
    if values.get("reason"):
        said |= {"reason": values["reason"], "message": values["message"]}
    data = func.jsonb_build_object("attempt", moved.c.attempt).op("||")(literal(storable(said), JSONB))
    event = select(
        *(moved.c.id, moved.c.event_count, moved.c.attempt),
        *(func.clock_timestamp(), literal(EventType.STATE, Text), data),
    )
    written = insert(_EVENTS).from_select(["job", "number", "attempt", "at", "type", "data"], event)
    query = select(moved.c.attempt).add_cte(written.cte("written"))
    if of_attempt is not None:
        ours = (Attempt.job == moved.c.id, Attempt.number == moved.c.attempt)
        query = query.add_cte(update(_ATTEMPTS).where(*ours).values(**of_attempt).cte("ended"))
    found = (await session.execute(query)).scalar_one_or_none()
    if found is not None:
        notify(session, APPENDED, job)
    return found


def _in(seconds: float) -> ColumnElement[Any]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
