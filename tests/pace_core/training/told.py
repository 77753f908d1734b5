"""A reporter for tests."""

from typing import Any

from pace_core.spec import Directive


class Told:
    """A reporter that keeps the events and gives a directive when told to."""

    def __init__(self, ask: str = "continue", after: int | None = None) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._ask, self._left = ask, after

    def event(self, type: str, data: dict[str, Any]) -> None:
        self.events.append((type, data))

    def directive(self) -> Directive:
        if self._left is None:
            return "continue"
        self._left -= 1
        return self._ask if self._left == 0 else "continue"  # type: ignore[return-value]

    def of(self, type: str) -> list[dict[str, Any]]:
        return [data for kind, data in self.events if kind == type]

    @property
    def first_step(self) -> int:
        """The number of the first step that the run reported done."""
        return next(data["step"] for data in self.of("progress") if "step" in data)
