"""Entries of the audit as admins read them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class AuditView(BaseModel):
    """One change that somebody asked for and got."""

    model_config = ConfigDict(from_attributes=True, extra="ignore", use_attribute_docstrings=True)

    id: int
    at: datetime
    actor: str
    """Owner of the key; of a command on the service's machine (`python -m service keys …`), that machine's user."""
    role: str
    """Of the key; `command` where it was a command."""
    key: str
    """Id of the key; empty where it was a command."""
    action: str
    """Noun and verb, such as `job.cancel`."""
    target: str
    """Id or name of what was changed."""
    project: str | None
    detail: dict[str, Any]
    address: str | None
    """Where the request came from."""
    request: str | None
    """The request's id, which the service's log names too."""


class AuditPage(BaseModel):
    """Entries, newest first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[AuditView]
    has_more: bool
    next_cursor: int | None
    """For `before`, with the same filters."""
