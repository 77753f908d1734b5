"""Which clusters there are, what runs there, and how one that is gone is forgotten."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, func, select

from pace_core.spec.leases import Slot
from service.audit import log
from service.db import Transaction
from service.jobs.tables import Attempt, Job
from service.keys.auth import Admin
from service.leases.tables import Cluster
from service.problems import Conflict, NotFound
from service.settings import Settings

router = APIRouter(prefix="/v1/clusters", tags=["clusters"])


class SlotView(BaseModel):
    """A place that runs one job at a time."""

    name: str
    node: str
    device: str
    memory_bytes: int
    job: str | None


class ClusterView(BaseModel):
    """A Ray cluster, as its dispatcher last described it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    there: bool
    """Whether it was heard of lately."""
    seen_at: datetime
    code_version: str
    slots: list[SlotView]


@router.get("", summary="List clusters and what runs in their slots")
async def list_clusters(request: Request, session: Transaction, _: Admin) -> dict[str, list[ClusterView]]:
    settings: Settings = request.app.state.settings
    running = await session.execute(
        select(Attempt.cluster, Attempt.slot, Job.id)
        .join(Job, (Attempt.job == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.lease_expires_at.is_not(None))
    )
    jobs = {(cluster, slot): job for cluster, slot, job in running}
    found = await session.execute(select(Cluster, _there(settings).label("there")).order_by(Cluster.name))
    return {"data": [_view(cluster, there, jobs) for cluster, there in found]}


@router.delete("/{name}", status_code=204, summary="Forget a cluster that is gone")
async def forget(
    request: Request, session: Transaction, caller: Admin, name: Annotated[str, Path(max_length=100)]
) -> None:
    """One that is there would announce itself again: end its dispatcher first."""
    settings: Settings = request.app.state.settings
    found = await session.execute(
        select(Cluster, _there(settings)).where(Cluster.name == name).with_for_update(of=Cluster)
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no cluster {name!r}")
    cluster, there = row
    if there:
        raise Conflict(
            f"cluster {name} is there (heard of at {cluster.seen_at:%H:%M:%S} UTC); end its dispatcher first"
        )
    await session.delete(cluster)
    log.record(session, request, caller, "cluster.forget", name)


def _there(settings: Settings) -> ColumnElement[bool]:
    return Cluster.seen_at >= func.now() - func.make_interval(0, 0, 0, 0, 0, 0, settings.worker_seen_s)


def _view(cluster: Cluster, there: bool, jobs: dict[tuple[str, str], str]) -> ClusterView:
    slots = [Slot.model_validate(slot) for slot in cluster.slots]
    return ClusterView(
        name=cluster.name,
        there=there,
        seen_at=cluster.seen_at,
        code_version=cluster.code_version,
        slots=[
            SlotView(
                name=slot.name,
                node=slot.node,
                device=slot.device,
                memory_bytes=slot.memory_bytes,
                job=jobs.get((cluster.name, slot.name)),
            )
            for slot in slots
        ],
    )
