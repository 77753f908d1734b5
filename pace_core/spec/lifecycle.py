"""A job's states, the moves between them and the reasons for which it ends, as data.

`service.jobs.ledger` is the only writer of a job's state and knows no other moves than these.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a job. Requests (pause, cancel) are columns, not states."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self in ENDED

    @property
    def leased(self) -> bool:
        """Whether a worker holds the job's current attempt."""
        return self in LEASED


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
LEASED = frozenset({State.STARTING, State.RUNNING})


@dataclass(frozen=True)
class Move:
    """One arrow of the state machine."""

    name: str
    sources: frozenset[State]
    target: State


def _move(name: str, sources: frozenset[State], target: State) -> tuple[str, Move]:
    return name, Move(name, sources, target)


MOVES: dict[str, Move] = dict(
    (
        # a worker takes the job: a new attempt, which fences the one before it
        _move("claim", frozenset({State.QUEUED}), State.STARTING),
        # the attempt's first event arrived
        _move("begin", frozenset({State.STARTING}), State.RUNNING),
        # the attempt stopped at a checkpoint because it was asked to; uses up no attempt
        _move("pause", LEASED, State.PAUSED),
        # a pause asked for before a worker took the job
        _move("hold", frozenset({State.QUEUED}), State.PAUSED),
        _move("resume", frozenset({State.PAUSED}), State.QUEUED),
        # the attempt was lost or failed for a reason worth another try, and attempts are left
        _move("requeue", LEASED, State.QUEUED),
        _move("succeed", LEASED, State.SUCCEEDED),
        _move("fail", LEASED, State.FAILED),
        _move("cancel", frozenset({State.QUEUED, State.PAUSED}) | LEASED, State.CANCELLED),
    )
)


@dataclass(frozen=True)
class EndReason:
    """Why an attempt ended: the state it leads to, whether another attempt may help, a sentence for the user."""

    state: State
    retryable: bool
    sentence: str


REASONS: dict[str, EndReason] = {
    "succeeded": EndReason(State.SUCCEEDED, False, "The run finished."),
    "cancelled": EndReason(State.CANCELLED, False, "The job was cancelled."),
    "paused": EndReason(State.PAUSED, False, "The job was paused; its checkpoint is kept."),
    "nan": EndReason(
        State.FAILED, False, "The loss stopped being a finite number. Lower optimizer.lr or regularizer.lambda."
    ),
    "out_of_memory": EndReason(
        State.FAILED, False, "The device ran out of memory. Set training.micro_batch or lower training.batch_size."
    ),
    "disk_full": EndReason(
        State.FAILED, False, "The storage is full. Free room and retry; the last whole checkpoint is kept."
    ),
    "data_missing": EndReason(State.FAILED, False, "Files of the data set are missing."),
    "data_corrupt": EndReason(State.FAILED, False, "Files of the data set cannot be read or contradict the task."),
    "data_changed": EndReason(
        State.FAILED, False, "The data set changed since the run's checkpoint. Put it back, or submit a new job."
    ),
    "storage_failed": EndReason(State.FAILED, True, "The run's folder in the storage cannot be written."),
    "weights_missing": EndReason(State.FAILED, False, "The backbone's weights could not be loaded."),
    "spec_invalid": EndReason(State.FAILED, False, "The spec does not fit the backbone or the data."),
    "crashed": EndReason(State.FAILED, True, "The worker's process failed with an unexpected error."),
    "lost": EndReason(State.FAILED, True, "The worker that ran the attempt is gone."),
    "timed_out": EndReason(State.FAILED, False, "The job ran longer than its max_runtime."),
}

INFRASTRUCTURE = frozenset(name for name, reason in REASONS.items() if reason.retryable)
"""Reasons that may lie in where the attempt ran: another one, elsewhere, may do better."""
