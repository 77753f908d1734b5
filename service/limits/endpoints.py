"""Endpoint of the limits, so that nobody finds out by being refused."""

from fastapi import APIRouter, Request

from service.db import Transaction
from service.keys.auth import AnyCaller
from service.limits.queries import of_project, used
from service.limits.schemas import LimitsView, ProjectLimits
from service.projects.tables import Project
from service.settings import Settings

router = APIRouter(prefix="/v1/limits", tags=["limits"])


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
        keep_uploads_s=settings.keep_uploads_s,
        project=project,
    )
