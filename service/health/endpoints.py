"""Endpoints of the service's health and that of each part of the stack."""

from datetime import UTC, datetime
from typing import Literal, get_args

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pace_core.spec.leases import Heartbeat
from service.db import Database, Transaction
from service.health.tables import PartHeartbeat
from service.keys.auth import MaybeCaller
from service.keys.auth import Part as PartKey
from service.keys.roles import Role
from service.problems import Forbidden
from service.settings import Settings
from service.storage.root import Health

router = APIRouter(tags=["health"])

_log = structlog.get_logger()
_SPEAKS = {
    **dict.fromkeys(("dispatcher", "ray", "studies"), Role.WORKER),
    **dict.fromkeys(("mlflow", "tracking"), Role.TRACKING),
}
_BADNESS = ("ok", "silent", "failing")
_PARTS: tuple[str, ...] = get_args(Heartbeat.model_fields["part"].annotation)


class Part(BaseModel):
    status: Literal["ok", "failing", "silent", "unknown"]
    """silent: not heard of lately; unknown: never heard of."""
    detail: str
    at: datetime | None


class Readiness(BaseModel):
    ready: bool
    """Whether jobs are taken: the database answers. The other parts may come later."""
    complete: bool
    """Whether every part is ok."""
    mlflow_shared: bool = False
    """Whether MLflow listens where the API does, so that links to it work from other machines too."""
    parts: dict[str, Part]


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="How each part is", openapi_extra={"security": [{}]})  # with a key, or without one
async def readyz(request: Request, response: Response, known: MaybeCaller) -> Readiness:
    """Answers 503 only where the database does not respond: without workers jobs are taken and wait.

    `parts` is empty for whoever shows no key.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    try:
        async with database.transaction() as session:
            heartbeats = list((await session.execute(select(PartHeartbeat).order_by(PartHeartbeat.cluster))).scalars())
            now = (await session.execute(select(func.now()))).scalar_one()
    except (DBAPIError, PoolTimeout, OSError):
        _log.exception("the database does not answer")
        response.status_code = 503
        parts = {"postgres": Part(status="failing", detail="does not answer; the log has more", at=None)}
        return Readiness(ready=False, complete=False, parts=parts)
    parts = {"postgres": Part(status="ok", detail="", at=now)}
    storage: Health = request.app.state.storage
    if storage.at is None:
        parts["storage"] = Part(status="unknown", detail=storage.detail, at=None)
    else:  # its probes are this process's own, and so is their clock
        probed = PartHeartbeat(ok=storage.ok, detail=storage.detail, at=storage.at)
        parts["storage"] = _part(probed, datetime.now(UTC), settings.part_silent_s)
    for name in _PARTS:
        said = {beat.cluster: _part(beat, now, settings.part_silent_s) for beat in heartbeats if beat.part == name}
        parts[name] = _together(said)
    complete = all(part.status == "ok" for part in parts.values())
    shared = bool(known) and settings.share_mlflow
    return Readiness(ready=True, complete=complete, mlflow_shared=shared, parts=parts if known else {})


def _together(clusters: dict[str, Part]) -> Part:
    """The part of all clusters: as bad as the worst of them, which is named where there are several."""
    if not clusters:
        return Part(status="unknown", detail="never heard of", at=None)
    worst = max(clusters, key=lambda name: _BADNESS.index(clusters[name].status))
    part = clusters[worst]
    if len(clusters) == 1:
        return part
    ok = sum(other.status == "ok" for other in clusters.values())
    return part.model_copy(update={"detail": f"{worst}: {part.detail or part.status}; {ok} of {len(clusters)} ok"})


def _part(heartbeat: PartHeartbeat, now: datetime, seen_s: float) -> Part:
    age_s = (now - heartbeat.at).total_seconds()
    if age_s > seen_s:
        return Part(status="silent", detail=f"not heard of for {age_s:.0f} s", at=heartbeat.at)
    return Part(status="ok" if heartbeat.ok else "failing", detail=heartbeat.detail, at=heartbeat.at)


@router.post("/v1/heartbeats", status_code=204, summary="Say how a part of the stack is", tags=["workers"])
async def post_heartbeat(session: Transaction, caller: PartKey, body: Heartbeat) -> None:
    """Records how a part is. A worker's key speaks for its dispatcher, studies and Ray; tracking's for the others."""
    if caller.role is not _SPEAKS[body.part]:
        raise Forbidden(f"a key of role {caller.role} does not speak for {body.part}; use one of {_SPEAKS[body.part]}")
    said = {"ok": body.ok, "detail": body.detail, "at": func.now()}
    kept = insert(PartHeartbeat).values(part=body.part, cluster=caller.cluster or "", **said)
    await session.execute(
        kept.on_conflict_do_update(index_elements=[PartHeartbeat.part, PartHeartbeat.cluster], set_=said)
    )
