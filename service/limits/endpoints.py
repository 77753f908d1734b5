"""Endpoint of the limits, so that nobody finds out by being refused."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from service.db import Transaction
from service.keys.auth import AnyCaller
from service.limits.queries import of_project, used
from service.projects.tables import Project
from service.settings import Settings

router = APIRouter(prefix="/v1/limits", tags=["limits"])


class ProjectLimits(BaseModel):
    """Limits of the key's project, and what it has."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    project: str
    max_queued: int
    queued: int
    max_running: int
    running: int
    highest_priority: int
    """For users; admins go up to 100."""
    default_max_runtime_s: float
    """Of a job that does not say."""
    max_stored_bytes: int
    stored_bytes: int
    """As of the last measurement, some minutes ago."""


class LimitsView(BaseModel):
    """Every limit that a request can meet."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_body_bytes: int
    max_report_bytes: int
    max_tags: int
    project: ProjectLimits | None
    """None for keys without a project."""


@router.get("", summary="What is allowed")
async def get_limits(request: Request, session: Transaction, caller: AnyCaller) -> LimitsView:
    """Returns limits on request sizes and tags, and what the key's project may have and has."""
    settings: Settings = request.app.state.settings
    project = None
    if caller.project is not None:
        limits = await of_project(session, settings, caller.project)
        queued, running = await used(session, caller.project)
        stored = (await session.get_one(Project, caller.project)).stored_bytes
        project = ProjectLimits(
            project=caller.project, queued=queued, running=running, stored_bytes=stored, **vars(limits)
        )
    return LimitsView(
        max_body_bytes=settings.max_body_bytes,
        max_report_bytes=settings.max_report_bytes,
        max_tags=settings.max_tags,
        project=project,
    )
