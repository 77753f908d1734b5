"""Writes down what callers change, in the transaction of the change."""

import getpass
import os
from typing import Any

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from service.audit.tables import AuditEntry
from service.keys.auth import Caller


def record(
    session: AsyncSession,
    request: Request,
    caller: Caller,
    action: str,
    target: str,
    project: str | None = None,
    **detail: Any,
) -> None:
    """Adds an entry; it is stored when the change is, and not without it."""
    session.add(AuditEntry(**entry(request, caller, action, target, project, **detail)))


def record_command(session: AsyncSession, action: str, target: str, project: str | None = None, **detail: Any) -> None:
    """Adds an entry for what somebody does on the service's own machine, where no key is asked for."""
    session.add(
        AuditEntry(
            actor=_user(),
            role="command",
            key="",
            action=action,
            target=target,
            project=project,
            detail=detail,
        )
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container that runs under a number of its own
        return f"user {os.getuid()}"


def entry(
    request: Request, caller: Caller, action: str, target: str, project: str | None = None, **detail: Any
) -> dict[str, Any]:
    """Returns an entry's columns, for whoever stores it together with the change."""
    return {
        "actor": caller.owner,
        "role": caller.role,
        "key": caller.key_id,
        "action": action,
        "target": target,
        "project": project,
        "detail": detail,
        "address": request.client.host if request.client else None,
        "request": getattr(request.state, "request_id", None),
    }
