"""Filters that lists of suites and of studies have in common."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Text = Annotated[str | None, Field(max_length=200)]


class Filters(BaseModel):
    """Which suites or studies to list; all given ones must hold."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    project: Text = None
    owner: Text = None
    task: Text = None
    """`digits` or `vtab-mini/digits`."""
    row: Text = None
    search: Text = None
    """Part of the name, whatever the case."""
    since: AwareDatetime | None = None
    """Submitted then or later; with its offset, such as 2026-11-27T09:30:00Z."""
    ended: bool | None = None
    """Whether all that they run has ended."""
    limit: int = Field(default=20, ge=1, le=200)
    after: str | None = Field(default=None, max_length=100)
    """The `next_cursor` of the page before."""
