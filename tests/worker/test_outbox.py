"""Events of an attempt: numbered, held until acknowledged, progress thinned."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from worker import outbox
from worker.outbox import Outbox


def test_events_are_numbered_and_held_until_they_are_acknowledged() -> None:
    box = Outbox()
    box.put("stage", {"name": "data"})
    box.put("stage", {"name": "train"})
    assert [event.seq for event in box.take(0, 0)] == [1, 2]
    assert [event.seq for event in box.take(0, 0)] == [1, 2], "not acknowledged, so said again"
    assert [event.seq for event in box.take(1, 0)] == [2]


def test_progress_is_thinned_and_the_newest_goes_out_before_the_next_event() -> None:
    box = Outbox()
    for step in range(1000):
        box.put("progress", {"step": step})
    box.put("metrics", {"epoch": 1})
    events = box.take(0, 0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(events) < 20
    assert events[0].data == {"step": 0}
    assert [event.data for event in events[-2:]] == [{"step": 999}, {"epoch": 1}]


def test_nothing_but_progress_is_ever_dropped() -> None:
    box = Outbox()
    for epoch in range(500):
        box.put("progress", {"step": epoch})
        box.put("metrics", {"epoch": epoch})
        box.put("checkpoint", {"epoch": epoch})
    said = [event.data["epoch"] for event in box.take(0, 0) if event.type != "progress"]
    assert said == [epoch for epoch in range(500) for _ in range(2)]


def test_progress_kept_back_goes_out_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now)
    box = Outbox()
    box.put("progress", {"step": 1})
    box.put("progress", {"step": 2})
    assert [event.data["step"] for event in box.take(0, 0)] == [1]
    now += outbox.PROGRESS_EVERY_S
    assert [event.data["step"] for event in box.take(1, 0)] == [2]


def test_taking_waits_for_the_next_event_and_no_longer() -> None:
    box = Outbox()
    threading.Timer(0.05, box.put, ("stage", {"name": "train"})).start()
    before = time.monotonic()
    assert [event.type for event in box.take(0, 30)] == ["stage"]
    assert time.monotonic() - before < 5


def test_the_end_is_the_last_event_and_the_outbox_is_empty_once_it_is_acknowledged() -> None:
    box = Outbox()
    box.put("end", {"reason": "succeeded"})
    box.put("log", {"message": "too late"})
    assert [event.type for event in box.take(0, 30)] == ["end"]
    assert not box.empty
    assert box.take(1, 30) == []
    assert box.empty


def test_no_event_is_earlier_than_the_one_before_it_though_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = datetime(2100, 1, 1, tzinfo=UTC)
    clock: Iterator[datetime] = iter([began, began + timedelta(seconds=1), began - timedelta(hours=1)])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return next(clock)

    monkeypatch.setattr(outbox, "datetime", Clock)
    box = Outbox()
    box.put("stage", {"name": "train"})
    box.put("end", {"reason": "succeeded"})
    assert [event.at - began for event in box.take(0, 0)] == [timedelta(seconds=1)] * 2
