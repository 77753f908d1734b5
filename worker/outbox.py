"""The events of one attempt, numbered and held until the service has them."""

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pace_core.spec import Event, EventType
from worker.sayable import sayable

PROGRESS_EVERY_S = 0.5  # every report costs the service a transaction
CROWDED = 200  # events held; beyond it nobody is listening, and progress alone would fill the memory
PROGRESS_WHEN_CROWDED_S = 10.0


class Outbox:
    """Queue of events, numbered 1, 2, 3… and kept until they are acknowledged. Thread-safe.

    Progress is thinned by time: what comes too early is kept back and goes out with the next event, or when its time
    has come. Every other event is kept as it is. No event is earlier than the one before it, whatever is done to the
    machine's clock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: list[Event] = []
        self._early: tuple[datetime, dict[str, Any]] | None = None
        self._progress_at = float("-inf")
        self._last_at = datetime.now(UTC)
        self.last_seq = 0
        self.closed = False

    def put(self, type: str, data: Mapping[str, Any]) -> None:
        """Takes an event; `end` closes the outbox, and what comes after it is dropped."""
        data = sayable(data)
        with self._changed:
            if self.closed:
                return
            now = datetime.now(UTC)
            if type == EventType.PROGRESS and not self._progress_due():
                self._early = (now, data)
                return
            if type == EventType.PROGRESS:
                self._early = None
                self._progress_at = time.monotonic()
            self._release_early()
            self._append(now, type, data)
            self.closed = type == EventType.END
            self._changed.notify_all()

    def take(self, acknowledged: int, wait_s: float) -> list[Event]:
        """Returns the events after number `acknowledged`; waits up to `wait_s` for one to come."""
        with self._changed:
            self._held = [event for event in self._held if event.seq > acknowledged]
            if not self._held and not self.closed:
                self._changed.wait(wait_s)
            if self._progress_due():
                self._release_early()
            return list(self._held)

    @property
    def empty(self) -> bool:
        """Whether the attempt has ended and all it said is acknowledged."""
        return self.closed and not self._held

    def _progress_due(self) -> bool:
        every = PROGRESS_EVERY_S if len(self._held) < CROWDED else PROGRESS_WHEN_CROWDED_S
        return time.monotonic() - self._progress_at >= every

    def _release_early(self) -> None:
        if self._early is not None:
            at, data = self._early
            self._early = None
            self._progress_at = time.monotonic()
            self._append(at, EventType.PROGRESS, data)

    def _append(self, at: datetime, type: str, data: dict[str, Any]) -> None:
        self.last_seq += 1
        self._last_at = max(at, self._last_at)
        self._held.append(Event(seq=self.last_seq, at=self._last_at, type=EventType(type), data=data))
