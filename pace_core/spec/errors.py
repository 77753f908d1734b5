"""Errors that a user's input can cause, and the exception that stops a run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pace_core.spec.lifecycle import REASONS


class Fault(BaseModel):
    """One thing wrong with a spec: where, what, and the cure."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    """JSON pointer to the field (RFC 6901), such as `/method/rank`."""
    code: str
    """Stable word for programs: unknown_key, unknown_name, missing, wrong_type, out_of_range, conflict."""
    message: str
    """A sentence for people, with the cure."""

    def __str__(self) -> str:
        return f"{self.pointer.strip('/').replace('/', '.') or 'spec'}: {self.message}"


class SpecError(ValueError):
    """A spec is refused; carries every fault found, not the first one."""

    def __init__(self, faults: list[Fault]) -> None:
        assert faults, "a SpecError without faults says nothing"
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class RunError(RuntimeError):
    """A run ends for a named reason (a key of `lifecycle.REASONS`); `message` says what and where."""

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS, f"unknown end reason {reason!r}"
        self.reason = reason
        self.message = message
        super().__init__(message)

    def __reduce__(self) -> tuple[type["RunError"], tuple[str, str]]:
        return RunError, (self.reason, self.message)


class Interrupted(Exception):
    """A run stopped between two steps because it was told to; its checkpoint is written."""

    def __init__(self, directive: Literal["pause", "stop"]) -> None:
        self.directive = directive
        super().__init__(directive)
