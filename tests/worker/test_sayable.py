"""Whatever a run says leaves its process as JSON of bounded size, or not at all."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pace_core.spec import Event
from worker.outbox import Outbox
from worker.sayable import MOST_CHARACTERS, sayable


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def nested(levels: int) -> Any:
    value: Any = "the bottom"
    for _ in range(levels):
        value = [{"deeper": value}]
    return value


def within_itself() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    return loop


HOSTILE: dict[str, Any] = {
    "a file name that is not UTF-8": "Pl\udce4tze.png",
    "half a character": "\ud83c",
    "a zero byte": "a\0b",
    "not a number": float("nan"),
    "infinity": float("-inf"),
    "a number of a thousand digits": 10**1000,
    "a number of too many digits to be written": 10**10_000,
    "twenty megabytes of text": "x" * 20_000_000,
    "bytes": b"\xff\xfe" * 10,
    "ten megabytes of bytes": bytes(10_000_000),
    "ten thousand levels": nested(10_000),
    "an object within itself": within_itself(),
    "a million numbers": list(range(1_000_000)),
    "keys that are no text": {1: "a", None: "b", ("x", 2): "c", b"k": "d", "Pl\udce4": "e", 10**10_000: "f"},
    "a million keys": {str(i): i for i in range(1_000_000)},
    "a set": {1},
    "numbers of numpy": [np.float32(0.5), np.int64(7), np.float64("nan")],
    "a tensor": torch.zeros(3),
    "a path": Path("/data"),
    "a time": datetime(2024, 1, 1),
    "an object without words": Mute(),
    "a function": print,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_event_of_anything_is_sent_as_bounded_json(value: Any) -> None:
    box = Outbox()
    box.put("metrics", {"epoch": 1, "values": {"odd": value}, "after": "here"})
    (event,) = box.take(0, 0)
    sent = json.dumps(event.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert len(sent) < 3 * MOST_CHARACTERS
    assert Event.model_validate(json.loads(sent)) == event
    assert event.data["epoch"] == 1


def test_what_can_be_said_is_said_as_it_is() -> None:
    data = {"epoch": 3, "values": {"train/loss": 0.25, "best": None}, "names": ["ü", "🌼"], "on": True}
    assert sayable(data) == data


def test_what_is_changed_can_be_recognised() -> None:
    said = sayable({"name": "Pl\udce4tze.png", "nan": float("nan"), 7: np.int64(7), "text": "a" * 30_000})
    assert said["name"] == "Pl\\xe4tze.png"
    assert said["nan"] is None
    assert said["7"] == 7
    assert "characters left out" in said["text"]


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.integers() | st.binary() | st.text(st.characters(codec=None)) | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    )
)
def test_it_never_fails(value: Any) -> None:
    json.dumps(sayable({"value": value}), allow_nan=False, ensure_ascii=False).encode()
