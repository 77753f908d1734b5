"""The audit, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from service.audit.schemas import AuditPage, AuditView
from service.audit.tables import AuditEntry
from service.db import Transaction
from service.keys.auth import Admin

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_Text = Annotated[str | None, Query(max_length=200)]


@router.get("", summary="Who changed what, newest first")
async def get_audit(
    session: Transaction,
    _: Admin,
    actor: _Text = None,
    action: _Text = None,
    target: _Text = None,
    project: _Text = None,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """Lists entries. `action` may be a noun alone (`key`) or whole (`key.revoke`). Go on with `before=next_cursor`."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit + 1)
    for column, wanted in ((AuditEntry.actor, actor), (AuditEntry.target, target), (AuditEntry.project, project)):
        if wanted is not None:
            query = query.where(column == wanted)
    if action is not None:
        query = query.where(
            AuditEntry.action == action
            if "." in action
            else AuditEntry.action.startswith(f"{action}.", autoescape=True)
        )
    if before is not None:
        query = query.where(AuditEntry.id < before)
    found = list((await session.execute(query)).scalars())
    shown = [AuditView.model_validate(entry) for entry in found[:limit]]
    more = len(found) > limit
    return AuditPage(data=shown, has_more=more, next_cursor=shown[-1].id if more else None)
