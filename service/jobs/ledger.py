"""The only writer of a job's state: one function a verb, each one guarded UPDATE.

A verb returns False where the job was not in a state from which the move goes, or its attempt was another: the race
is lost and nothing was written. Otherwise the move's event stands in the same transaction.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, extract, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import LEASED, MOVES, REASONS, State
from service.events.log import from_service, store
from service.jobs.tables import Attempt, Job
from service.wake import QUEUE, notify


@dataclass(frozen=True)
class End:
    """End of an attempt."""

    reason: str
    """Key of `lifecycle.REASONS`."""
    message: str
    by_report: bool
    """Whether the attempt said so itself."""


async def submit(session: AsyncSession, job: Job) -> None:
    """Adds a new job: queued, with its first event."""
    await submit_all(session, [job])


async def submit_all(session: AsyncSession, jobs: Sequence[Job]) -> None:
    """Adds new jobs, each queued and with its first event; all of them or none."""
    if not jobs:
        return
    for job in jobs:
        job.state, job.event_count, job.created_at = State.QUEUED, 1, datetime.now(UTC)
    session.add_all(jobs)
    await session.flush()
    said = from_service(0, {"move": "submit", "state": State.QUEUED, "attempt": 0})
    await store(session, [(job.id, 1, [said]) for job in jobs])
    notify(session, QUEUE)


def folder_of(storage_root: str, job: str, attempt: int) -> str:
    """Returns the place where an attempt keeps its files."""
    return f"{storage_root}/jobs/{job}/{attempt}"


async def claim(
    session: AsyncSession, abouts: Mapping[str, dict[str, str]], lease_s: float, storage_root: str
) -> dict[str, int]:
    """Begins a new attempt of each job, which fences the one before it. Returns job → attempt; lost ones are absent.

    `abouts` says of each job by whom: cluster, slot, node, device, and the hash of the lease's token.
    """
    move = MOVES["claim"]
    moved = await session.execute(
        update(Job)
        .where(Job.id.in_(abouts), Job.state.in_(move.sources))
        .values(
            state=move.target,
            attempt=Job.attempt + 1,
            event_count=Job.event_count + 1,
            lease_expires_at=_in(lease_s),
            started_at=func.coalesce(Job.started_at, func.now()),
        )
        .returning(Job.id, Job.attempt, Job.event_count)
    )
    claimed = moved.all()
    if not claimed:
        return {}
    attempts = [
        {"job": job, "number": number, "folder": folder_of(storage_root, job, number), "last_seq": 0, "said_end": False}
        | abouts[job]
        for job, number, _ in claimed
    ]
    await session.execute(insert(Attempt), attempts)
    await store(
        session,
        [
            (job, count, [from_service(number, {"move": move.name, "state": move.target, "attempt": number})])
            for job, number, count in claimed
        ],
    )
    return {job: number for job, number, _ in claimed}


async def begin(session: AsyncSession, job: str, attempt: int) -> bool:
    """Marks the attempt as running, at its first event."""
    return await _move(session, job, "begin", {}, attempt=attempt) is not None


async def renew(session: AsyncSession, job: str, attempt: int, lease_s: float) -> bool:
    """Renews the attempt's lease, at a sign of life. Moves nothing and writes no event."""
    renewed = await session.execute(
        update(Job)
        .where(Job.id == job, Job.attempt == attempt, Job.state.in_(LEASED))
        .values(lease_expires_at=_in(lease_s))
        .returning(Job.id)
    )
    return renewed.first() is not None


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


async def _end_attempt(
    session: AsyncSession, job: str, move: str, attempt: int, end: End, values: dict[str, Any]
) -> bool:
    spent = (
        select(extract("epoch", func.now() - Attempt.started_at))
        .where(Attempt.job == job, Attempt.number == attempt)
        .scalar_subquery()
    )
    values |= {"lease_expires_at": None, "runtime_s": Job.runtime_s + func.coalesce(spent, 0.0)}
    if await _move(session, job, move, values, attempt=attempt) is None:
        return False
    await session.execute(
        update(Attempt)
        .where(Attempt.job == job, Attempt.number == attempt)
        .values(ended_at=func.now(), reason=end.reason, message=end.message, said_end=end.by_report)
    )
    return True


async def _move(
    session: AsyncSession,
    job: str,
    name: str,
    values: dict[str, Any],
    *,
    attempt: int | None = None,
    sources: Set[State] | None = None,
) -> int | None:
    """The attempt's number after the move; None where the guard let nothing through."""
    move = MOVES[name]
    guard: list[ColumnElement[bool]] = [Job.id == job, Job.state.in_(sources or move.sources)]
    if attempt is not None:
        guard.append(Job.attempt == attempt)
    moved = await session.execute(
        update(Job)
        .where(and_(*guard))
        .values(state=move.target, event_count=Job.event_count + 1, **values)
        .returning(Job.attempt, Job.event_count)
    )
    row = moved.one_or_none()
    if row is None:
        return None
    said = {"move": name, "state": move.target, "attempt": row.attempt}
    if values.get("reason"):
        said |= {"reason": values["reason"], "message": values["message"]}
    await store(session, [(job, row.event_count, [from_service(row.attempt, said)])])
    return row.attempt


def _in(seconds: float) -> ColumnElement[Any]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
