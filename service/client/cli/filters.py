"""Filters of jobs: the options that all lists share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pace_core.spec.lifecycle import State

_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}

States = Annotated[list[State], typer.Option("--state", help="Only these; several times for any of several.")]
Tags = Annotated[list[str], typer.Option("--tag", metavar="key[=value]", help="Only with this tag.")]
TaskName = Annotated[str | None, typer.Option("--task", help="Such as digits or vtab-mini/digits.")]
RowLabel = Annotated[str | None, typer.Option("--row", help="Label in tables.")]
Owner = Annotated[str | None, typer.Option("--owner", help="Whose jobs.")]
Project = Annotated[str | None, typer.Option("--project", help="Of this project.")]
Search = Annotated[str | None, typer.Option("--search", help="Part of name, row, task or id.")]
Since = Annotated[str | None, typer.Option("--since", metavar="2h|3d|date", help="Submitted since then.")]

Name = Annotated[str | None, typer.Option("--search", help="Part of the name.")]
Ended = Annotated[bool | None, typer.Option("--ended/--open", help="Only what has ended, or what has not.")]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Filters of lists, as a person gives them; jobs, suites and studies have some of them each."""

    task: str | None
    row: str | None
    owner: str | None
    project: str | None
    since: str | None
    search: str | None = None
    state: Sequence[State] = ()
    tag: Sequence[str] = ()
    ended: bool | None = None

    def query(self) -> dict[str, str | list[str] | bool | None]:
        """Returns the request's query. Raises typer.BadParameter where `since` is no time."""
        return {
            "state": [str(state) for state in self.state] or None,
            "tag": list(self.tag) or None,
            "task": self.task,
            "row": self.row,
            "owner": self.owner,
            "project": self.project,
            "since": moment(self.since).isoformat() if self.since is not None else None,
            "search": self.search,
            "ended": self.ended,
        }


def moment(text: str) -> datetime:
    """Parses `2h`, `3d` (before now) or a UTC date such as 2026-11-27 or 2026-11-27T09:30. Raises BadParameter."""
    ago = re.fullmatch(r"(\d{1,6})\s*(m|min|h|d|w)", text.strip())
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        message = f"--since {text}: must be a time ago such as 30m, 2h or 3d, or a date such as 2026-11-27"
        raise typer.BadParameter(message) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
