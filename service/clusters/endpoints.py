"""Endpoints of clusters: listed with what runs there, drained, and forgotten when they are gone."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Join, Joined, Leave, Proof, Slot
from service.audit import log
from service.clusters.closures import Closures, close, closures, open_again
from service.clusters.fit import there
from service.clusters.joining import check_proof, join, leave
from service.clusters.schemas import ClosureKind, ClosureView, ClusterView, Drain, LoadView, Place, SlotView
from service.clusters.tables import Cluster
from service.db import Database, Transaction
from service.health.tables import PartHeartbeat
from service.jobs.tables import LEASED_JOBS, Attempt, Job
from service.keys.auth import Admin, Reader, Worker, cluster_of
from service.problems import Conflict, NotFound
from service.settings import Settings
from service.wake import QUEUE, SUPPLY, notify

router = APIRouter(prefix="/v1/clusters", tags=["clusters"])

_Name = Annotated[str, Path(max_length=100)]


@router.get("", summary="List clusters, what runs in their slots and why one takes nothing")
async def list_clusters(request: Request, session: Transaction, _: Admin) -> dict[str, list[ClusterView]]:
    settings: Settings = request.app.state.settings
    jobs, closed = await _running(session), await closures(session)
    found = await session.execute(select(Cluster, there(settings.worker_seen_s)).order_by(Cluster.name))
    return {"data": [_view(cluster, is_there, jobs, closed) for cluster, is_there in found]}


@router.get("/load", summary="How busy the slots are")
async def get_load(request: Request, session: Transaction, _: Reader) -> dict[str, list[LoadView]]:
    """Counts slots by cluster and device: how many there are, run something, take no jobs. It names no job."""
    settings: Settings = request.app.state.settings
    jobs, closed = await _running(session), await closures(session)
    found = await session.execute(select(Cluster, there(settings.worker_seen_s)).order_by(Cluster.name))
    loads: dict[tuple[str, str], LoadView] = {}
    for cluster, is_there in found:
        for slot in map(Slot.model_validate, cluster.slots):
            load = loads.setdefault((cluster.name, slot.device), _no_load(cluster, is_there, slot.device))
            why = closed.of(cluster.name, slot)
            load.slots += 1
            load.busy += (cluster.name, slot.name) in jobs
            if why or slot.trouble:
                load.closed += 1
                load.why_closed = load.why_closed or (f"{why.kind}: {why.reason}" if why else slot.trouble)
    return {"data": list(loads.values())}


@router.post("/{name}/drain", summary="Let a cluster, a node or a slot take no more jobs")
async def drain(request: Request, caller: Admin, name: _Name, body: Drain) -> ClusterView:
    """Drains a place: what runs there comes to its end; with `now` it stops at a checkpoint and goes on elsewhere."""
    database: Database = request.app.state.database
    async with database.transaction() as session:
        # claims hold this row: those under way come to their end, later ones see the place closed
        await session.execute(select(Cluster.name).where(Cluster.name == name).with_for_update(key_share=True))
        place = await _place(session, name, body)
        await close(session, place, ClosureKind.DRAINED, body.reason, owner=caller.owner)
        said = body.model_dump(exclude_defaults=True)
        log.record(session, request, caller, "cluster.drain", name, **said)
    if body.now:
        async with database.transaction() as session:  # after the commit: from now on nothing begins there any more
            await _evict(session, place)
    async with database.transaction() as session:
        return await _one(session, request, name)


@router.post("/{name}/undrain", summary="Let a cluster, a node or a slot take jobs again")
async def undrain(
    request: Request, session: Transaction, caller: Admin, name: _Name, body: Place | None = None
) -> ClusterView:
    """Ends a drain, and every quarantine in the place. What was drained by itself within it stays so."""
    body = body or Place()
    if await open_again(session, await _place(session, name, body)):
        log.record(session, request, caller, "cluster.undrain", name, **body.model_dump(exclude_none=True))
        notify(session, QUEUE)
    return await _one(session, request, name)


@router.post("/join", summary="Serve a cluster as its one dispatcher", tags=["workers"])
async def post_join(request: Request, caller: Worker, body: Join) -> Joined:
    """Joins a cluster, first and again every few seconds. `cluster-taken` (409) while another dispatcher serves it."""
    state = request.app.state
    return await join(state.database, state.settings, cluster_of(caller), body)


@router.post("/leave", status_code=204, summary="Serve a cluster no longer", tags=["workers"])
async def post_leave(session: Transaction, caller: Worker, body: Leave) -> None:
    await leave(session, cluster_of(caller), body.dispatcher)


@router.post("/proofs", status_code=204, summary="Prove that a node reaches the storage", tags=["workers"])
async def post_proof(request: Request, caller: Worker, body: Proof) -> None:
    """Checks a node's proof: `storage-unreachable` (409) where the node's copy is not in the service's storage."""
    state = request.app.state
    await check_proof(state.database, state.settings, cluster_of(caller), body.node)


@router.delete("/{name}", status_code=204, summary="Forget a cluster that is gone")
async def forget(request: Request, session: Transaction, caller: Admin, name: _Name) -> None:
    """Forgets a cluster that is gone. One that is there would announce itself again: end its dispatcher first."""
    settings: Settings = request.app.state.settings
    found = await session.execute(
        select(Cluster, there(settings.worker_seen_s)).where(Cluster.name == name).with_for_update(of=Cluster)
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no cluster {name!r}")
    cluster, is_there = row
    if is_there:
        raise Conflict(
            f"cluster {name} is there (heard of at {cluster.seen_at:%H:%M:%S} UTC); end its dispatcher first"
        )
    await session.delete(cluster)
    await session.execute(delete(PartHeartbeat).where(PartHeartbeat.cluster == name))
    log.record(session, request, caller, "cluster.forget", name)
    notify(session, SUPPLY)


async def _place(session: AsyncSession, name: str, asked: Place) -> tuple[str, str, str]:
    """Cluster, node and slot, the latter two empty where they are not named. Raises NotFound."""
    slots = (await session.execute(select(Cluster.slots).where(Cluster.name == name))).scalar_one_or_none()
    if slots is None:
        raise NotFound(f"there is no cluster {name!r}")
    if asked.node is None and asked.slot is None:
        return name, "", ""
    for slot in map(Slot.model_validate, slots):
        if asked.node in (None, slot.node) and asked.slot in (None, slot.name):
            return name, slot.node, slot.name if asked.slot else ""
    raise NotFound(f"cluster {name} has no slot {asked.slot or ''} of node {asked.node or 'any'}; see GET /v1/clusters")


async def _evict(session: AsyncSession, place: tuple[str, str, str]) -> None:
    cluster, node, slot = place
    live = select(Job.id).where(Job.id == Attempt.job, Job.attempt == Attempt.number, text(LEASED_JOBS))
    there = [Attempt.cluster == cluster, Attempt.ended_at.is_(None), live.exists()]
    there += [Attempt.node == node] if node else []
    there += [Attempt.slot == slot] if slot else []
    await session.execute(update(Attempt).where(*there).values(evicted=True))


async def _running(session: AsyncSession) -> dict[tuple[str, str], str]:
    running = await session.execute(
        select(Attempt.cluster, Attempt.slot, Job.id)
        .join(Job, (Attempt.job == Job.id) & (Attempt.number == Job.attempt))
        .where(text(LEASED_JOBS))
    )
    return {(cluster, slot): job for cluster, slot, job in running}


async def _one(session: AsyncSession, request: Request, name: str) -> ClusterView:
    settings: Settings = request.app.state.settings
    found = await session.execute(select(Cluster, there(settings.worker_seen_s)).where(Cluster.name == name))
    cluster, is_there = found.one()
    return _view(cluster, is_there, await _running(session), await closures(session, name))


def _view(cluster: Cluster, is_there: bool, jobs: dict[tuple[str, str], str], closed: Closures) -> ClusterView:
    whole = closed.of_cluster(cluster.name)
    return ClusterView(
        name=cluster.name,
        there=is_there,
        seen_at=cluster.seen_at,
        code_version=cluster.code_version,
        dispatcher=cluster.dispatcher,
        closed=ClosureView.model_validate(whole) if whole else None,
        slots=[_slot(cluster.name, Slot.model_validate(slot), jobs, closed) for slot in cluster.slots],
    )


def _no_load(cluster: Cluster, is_there: bool, device: str) -> LoadView:
    return LoadView(
        cluster=cluster.name,
        there=is_there,
        seen_at=cluster.seen_at,
        device=device,
        slots=0,
        busy=0,
        closed=0,
        why_closed="",
    )


def _slot(cluster: str, slot: Slot, jobs: dict[tuple[str, str], str], closed: Closures) -> SlotView:
    why = closed.of(cluster, slot)
    return SlotView(
        **slot.model_dump(),
        job=jobs.get((cluster, slot.name)),
        closed=ClosureView.model_validate(why) if why else None,
    )
