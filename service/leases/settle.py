"""Settling of a job whose attempt has ended."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import INFRASTRUCTURE, REASONS, RunResult, cell_hash, load_benchmarks
from service.jobs import ledger
from service.jobs.ledger import End
from service.jobs.tables import Job
from service.leases.quarantine import judge, judge_silence
from service.suites.stop import stop_if_all_fail

RETRY_AFTER_S = 2.0
"""The first delay, where the settings say nothing else; each further failure makes it four times as long."""
_LONGEST_DELAY_S = 600.0


async def settle(
    session: AsyncSession,
    job: Job,
    end: End,
    *,
    result: dict[str, Any] | None = None,
    timed_out: bool = False,
    counts: bool = True,
    retry_after_s: float = RETRY_AFTER_S,
) -> None:
    """Moves the job as the end of its current attempt asks; the job's row is locked by the caller.

    A run that succeeded stays so, whatever was asked of it meanwhile. What stopped without being asked to, because
    its worker went down, uses up no attempt, nor does what never reached a worker (`counts` is False). What broke is
    tried again after a delay that grows with each failure.
    """
    if end.reason == "succeeded":
        try:
            parsed = RunResult.model_validate(result)
        except ValidationError as error:
            end = End("crashed", f"the worker's result cannot be read: {error}", end.by_report)
        else:
            cell, value = await _cell(session, job, parsed), _value(job, parsed)
            await ledger.succeed(session, job.id, job.attempt, end, result or {}, cell, value)
            return
    if job.cancel_requested_at is not None:
        await ledger.cancel(session, job.id, job.attempt, end)
        return
    stopped = end.reason in ("paused", "cancelled")
    if stopped and timed_out:
        await _fail(session, job, End("timed_out", REASONS["timed_out"].sentence, end.by_report))
        return
    failed = counts and not stopped
    if stopped or (REASONS[end.reason].retryable and job.failures + failed < job.max_attempts):
        if job.pause_requested_at is None:
            delay_s = min(retry_after_s * 4.0**job.failures, _LONGEST_DELAY_S) if failed else 0.0
            await ledger.requeue(session, job.id, job.attempt, end, failed, delay_s)
        else:
            await ledger.pause(session, job.id, job.attempt, end, failed)
    else:
        await _fail(session, job, end)
    if failed and end.reason in INFRASTRUCTURE:
        await judge(session, job.id)
    elif not counts:
        await judge_silence(session, job.id, job.attempt)


async def _fail(session: AsyncSession, job: Job, end: End) -> None:
    if await ledger.fail(session, job.id, job.attempt, end):
        await stop_if_all_fail(session, job)


async def _cell(session: AsyncSession, job: Job, result: RunResult) -> str:
    provenance = result.provenance
    init: str | None = job.spec.get("init_from")
    if init:
        init = (await session.execute(select(Job.cell).where(Job.id == init))).scalar() or init
    return cell_hash(job.spec, provenance.data_hash, provenance.weights_hash, init)


def _value(job: Job, result: RunResult) -> float | None:
    """The number that tables show: the task's metric on the split that the phase measures, or that is reported."""
    split = "test" if job.phase == "final" else "val"
    benchmark = load_benchmarks().get(job.benchmark or "")
    if benchmark and (job.phase, benchmark.reported) == ("search", "best_val"):
        split = "best_val"
    measured = {m.metric: m.value for m in reversed(result.metrics) if m.split == split}
    if benchmark:
        return measured.get(benchmark.metric_of(job.task))
    return measured.get("accuracy", next(reversed(measured.values()), None))  # a task of the user's own
