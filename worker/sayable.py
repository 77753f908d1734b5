"""The one door through which what a run says leaves its process: plain JSON of bounded size, whatever was said."""

import math
import numbers
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

from pace_core.spec.text import valid_unicode

LONGEST_TEXT = 10_000
"""Characters; thirty lines of a traceback and twenty faults of a data set are shorter."""
MOST_CHARACTERS = 200_000
"""Of one event; every event is a row, and a report of many must fit into a request."""
MOST_VALUES = 20_000
DEEPEST = 20
_LARGEST_INT = 2**63


def sayable(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the data of an event as JSON: text is valid Unicode, numbers are finite, keys are text.

    NaN and infinity become null, bytes and unknown objects text; what is too long, too many or too deep is cut, with a
    mark where. Never raises.
    """
    return _Door().mapping(data, 0)


class _Door:
    def __init__(self) -> None:
        self._characters, self._values = MOST_CHARACTERS, MOST_VALUES

    def mapping(self, data: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for key, value in data.items():
            if self._values <= 0:
                said["…"] = "the rest is left out"
                break
            said[self._text(key if isinstance(key, str) else _as_text(key))] = self._value(value, depth + 1)
        return said

    def _value(self, value: Any, depth: int) -> Any:
        self._values -= 1
        match value:
            case None | bool():
                return value
            case str():
                return self._text(value)
            case int():
                return int(value) if abs(value) < _LARGEST_INT else self._text(_as_text(value))
            case Mapping() | Set() | Sequence() if depth > DEEPEST and not isinstance(value, bytes | bytearray):
                return "…"
            case Mapping():
                return self.mapping(cast(Mapping[Any, Any], value), depth)
            case bytes() | bytearray():
                return self._text(value[:LONGEST_TEXT].decode("utf-8", "backslashreplace"))
            case Set() | Sequence():
                return self._items(list(cast(Sequence[Any], value)), depth)
            case numbers.Integral():  # numpy's
                return self._value(int(value), depth)
            case numbers.Real():
                return float(value) if math.isfinite(value) else None
            case _:
                return self._text(_as_text(value))

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        said: list[Any] = []
        for item in items:
            if self._values <= 0:
                return [*said, "…"]
            said.append(self._value(item, depth + 1))
        return said

    def _text(self, text: str) -> str:
        most = max(0, min(LONGEST_TEXT, self._characters))
        if len(text) > most:
            text = f"{text[: most // 2]}… {len(text) - most:,} characters left out …{text[len(text) - most // 2 :]}"
        self._characters -= len(text)
        return valid_unicode(text)


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # an object whose own text fails, a number of thousands of digits
        return f"a {type(value).__name__}"
