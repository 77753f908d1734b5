"""What clients send and get about projects."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from service.keys.schemas import Name


class ProjectRequest(BaseModel):
    """Asks for a new project."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Name


class ProjectView(BaseModel):
    """A project."""

    model_config = ConfigDict(from_attributes=True, extra="ignore", use_attribute_docstrings=True)

    name: str
    created_at: datetime
    archived_at: datetime | None
    """An archived project can be read, and takes no jobs and no keys."""
