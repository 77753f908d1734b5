"""Plain data, of which specs are made: text, finite numbers, lists and objects, none of them without bounds."""

import math
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

from pace_core.spec.errors import Fault
from pace_core.spec.text import LONGEST_NAME, brief, shown, valid_unicode

LARGEST = 1e12
"""No setting of a run is a larger number, up or down."""
LONGEST_TEXT = 4000
"""Characters; the longest path of Linux and the longest URL that servers take are about as long."""
DEEPEST = 16
MOST_VALUES = 100_000


def plain(raw: Mapping[Any, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Returns the spec as plain JSON data and a fault for every value in it that is none or is out of all bounds.

    Whatever an object in Python or a YAML file may hold besides: dates, bytes, keys that are numbers, infinity,
    numbers of a thousand digits, an object within itself.
    """
    reading = _Reading()
    return reading.object(raw, "", 0), reading.faults


class _Reading:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._values = 0

    def object(self, raw: Mapping[Any, Any], pointer: str, depth: int) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for key, value in raw.items():
            if not isinstance(key, str):
                self._refuse(pointer, "wrong_type", f"has a key that is not text, {brief(key)}; put it in quotes")
            elif len(key) > LONGEST_NAME or valid_unicode(key) != key:
                self._refuse(pointer, "unknown_key", f"has a key that is not the name of a field, '{shown(key, 50)}'")
            else:
                said[key] = self.value(value, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
        return said

    def value(self, value: Any, pointer: str, depth: int) -> Any:
        self._values += 1
        if depth > DEEPEST or self._values > MOST_VALUES:
            if self._values <= MOST_VALUES or not self.faults:
                self._refuse(pointer, "out_of_range", f"holds more than {DEEPEST} levels or {MOST_VALUES:,} values")
            return None
        match value:
            case None | bool():
                return value
            case int() | float():
                return self._number(value, pointer)
            case str():
                return self._text(value, pointer)
            case Mapping():
                return self.object(cast(Mapping[Any, Any], value), pointer, depth)
            case list() | tuple():
                items = enumerate(cast(list[Any], value))
                return [self.value(item, f"{pointer}/{i}", depth + 1) for i, item in items]
            case _:
                what = "a date" if isinstance(value, date) else f"a {type(value).__name__}"
                self._refuse(
                    pointer, "wrong_type", f"must be text, a number, a list or an object, not {what}; quote text"
                )
                return None

    def _number(self, value: float, pointer: str) -> float:
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(pointer, "out_of_range", f"must be a finite number, not {value}")
        elif not -LARGEST <= value <= LARGEST:
            self._refuse(pointer, "out_of_range", f"must be a number between {-LARGEST:g} and {LARGEST:g}")
        return value or type(value)()  # -0.0 means 0.0 and is written so

    def _text(self, text: str, pointer: str) -> str:
        if len(text) > LONGEST_TEXT:
            self._refuse(pointer, "out_of_range", f"must be text of at most {LONGEST_TEXT} characters, not {len(text)}")
        elif "\0" in text or valid_unicode(text) != text:
            message = f"'{shown(text)}' holds characters that are not valid Unicode; rename what it names"
            self._refuse(pointer, "out_of_range", message)
        return text

    def _refuse(self, pointer: str, code: str, message: str) -> None:
        self.faults.append(Fault(pointer=pointer, code=code, message=message))
