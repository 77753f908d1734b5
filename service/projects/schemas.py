"""Requests and answers about projects."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.keys.schemas import Name


class ProjectRequest(BaseModel):
    """A request for a new project."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Name


class ProjectPatch(BaseModel):
    """Changes to a project's own limits. What is left out stays; null goes back to the settings'."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    max_queued: int | None = Field(default=None, ge=0, lt=2**31, strict=True)
    max_running: int | None = Field(default=None, ge=0, lt=2**31, strict=True)
    highest_priority: int | None = Field(default=None, ge=0, le=100, strict=True)
    """For users; admins go up to 100."""
    default_max_runtime_s: float | None = Field(default=None, gt=0, le=3.2e8, allow_inf_nan=False, strict=True)
    """Of a job that does not say."""
    max_stored_bytes: int | None = Field(default=None, ge=0, lt=2**63, strict=True)


class ProjectView(BaseModel):
    """A project."""

    model_config = ConfigDict(from_attributes=True, extra="ignore", use_attribute_docstrings=True)

    name: str
    created_at: datetime
    archived_at: datetime | None
    """An archived project can be read, and takes no jobs and no keys."""
    max_queued: int | None = None
    """Limits of its own; null where the settings' count."""
    max_running: int | None = None
    highest_priority: int | None = None
    default_max_runtime_s: float | None = None
    max_stored_bytes: int | None = None
    stored_bytes: int = 0
    """As last measured."""
