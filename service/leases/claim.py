"""Gives queued jobs to the free slots of a cluster."""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import LEASED
from pace_core.spec.leases import Holding, Lease, LeaseRequest, LeaseResponse, Slot
from service.clusters.joining import admit
from service.clusters.placement import Placement, placement
from service.clusters.tables import Cluster
from service.db import Database
from service.jobs import ledger
from service.jobs.ledger import Claimed, End
from service.jobs.tables import Attempt, Job
from service.keys.auth import Caller, cluster_of, still_valid
from service.keys.secrets import hashed, topic
from service.leases.queue import look_at_queue
from service.leases.settle import settle
from service.leases.statements import LIVE, LOST
from service.settings import Settings
from service.wake import QUEUE, SUPPLY, Wakes, notify

_TOGETHER_S = 0.01  # jobs submitted one after the other are looked at together
_LOOKED_FOR = 100  # paths in one answer
_PATHS_BYTES = 200_000  # of paths of which a cluster says in a request whether it has them
_IN_FLIGHT_S = 5.0  # the last report of an attempt may still be on its way when its slot is announced free


async def lease(
    database: Database,
    wakes: Wakes,
    settings: Settings,
    caller: Caller,
    request: LeaseRequest,
    gone: Callable[[], Awaitable[bool]],
) -> LeaseResponse:
    """Waits for jobs that the free slots can take; answers early with what the cluster lost.

    Nothing is taken for an answer that would reach nobody: where the asker is `gone`, or a later request of the same
    cluster has taken the place of this one.
    """
    cluster = cluster_of(caller)
    async with database.lone() as session:
        generation = await _announce(session, settings, cluster, request)

    async def look(last: bool) -> LeaseResponse | None:
        if await gone():
            return LeaseResponse(leases=[], lost=[], lease_s=settings.lease_s)
        await still_valid(database, caller)
        async with database.transaction() as session:
            known = await _newest(session, cluster, generation)
            if known is None:
                return LeaseResponse(leases=[], lost=[], lease_s=settings.lease_s)
            taken = await _taken_slots(session, cluster, request, settings.retry_after_s)
            lost = await _lost(session, request.holding)
            free = [slot for slot in request.slots if slot.name not in taken]
            placed = await placement(session, cluster, request.paths, settings.worker_seen_s)
            leases = await _claim(session, settings, known, request, free, placed)
        look_for = _to_look_for(placed.look_for, request.paths)
        if not (leases or lost or look_for or last):
            return None
        return LeaseResponse(leases=leases, lost=lost, look_for=look_for, lease_s=settings.lease_s)

    return await wakes.poll((QUEUE, topic(caller.key_id)), request.wait_s, look, gather_s=_TOGETHER_S)


def _to_look_for(wanted: Iterable[str], told: Iterable[str] | None) -> list[str]:
    """Returns as many of the paths as can be told of in one request beside those that this one tells of.

    What the worker is asked to look for stands in its requests for a minute. Then it makes room for others.
    """
    room = _PATHS_BYTES - sum(len(path.encode()) for path in told or ())
    asked: list[str] = []
    for path in wanted:
        room -= len(path.encode())
        if room < 0 or len(asked) == _LOOKED_FOR:
            break
        asked.append(path)
    return asked


async def _announce(session: AsyncSession, settings: Settings, cluster: str, request: LeaseRequest) -> int:
    """The cluster's generation with this request, of which every one raises it."""
    said: dict[str, Any] = {
        "slots": [slot.model_dump() for slot in request.all_slots],
        "data": request.paths or {},
        "code_version": request.code_version,
        "seen_at": func.now(),
    }
    notify(session, SUPPLY)
    _, generation = await admit(session, settings, cluster, request.dispatcher, **said)
    return generation


async def _newest(session: AsyncSession, name: str, generation: int) -> Cluster | None:
    """Returns the cluster, locked, while no later request of its has come."""
    of = select(Cluster).where(Cluster.name == name, Cluster.generation == generation)
    return (await session.execute(of.with_for_update(key_share=True))).scalar_one_or_none()


async def _taken_slots(session: AsyncSession, cluster: str, request: LeaseRequest, retry_after_s: float) -> set[str]:
    """Slots announced free for which an attempt is on its way: granted or ended a moment ago, by another answer.

    Where nothing was heard of the attempt for longer, the cluster does not run it: it is ended here. So is what was
    given to a slot that says now what is wrong with it, and what ran in one that the cluster no longer has, as after a
    start of Ray, whose nodes then have other names.
    """
    idle = [slot.name for slot in (*request.slots, *(slot for slot in request.all_slots if slot.trouble))]
    places = {"cluster": cluster, "idle": idle, "every": [slot.name for slot in request.all_slots]}
    found = list((await session.execute(LIVE, places)).scalars())
    if not found:
        return set()
    holding = {(held.job, held.attempt) for held in request.holding}
    late = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _IN_FLIGHT_S)
    live = await session.execute(
        select(Job, Attempt, (Attempt.renewed_at < late).label("silent"))
        .join(Attempt, (Attempt.job == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.id.in_(found), Job.state.in_(LEASED), Attempt.cluster == cluster)
        .with_for_update(of=Job)  # one that is just ending is waited for
        .execution_options(populate_existing=True)
    )
    taken: set[str] = set()
    for job, attempt, silent in live:
        if silent and (job.id, job.attempt) not in holding:
            end = End("lost", f"slot {attempt.slot} of {attempt.cluster} does not run the attempt any more", False)
            await settle(session, job, end, counts=attempt.last_seq > 0, retry_after_s=retry_after_s)
        else:
            taken.add(attempt.slot)
    return taken


async def _lost(session: AsyncSession, holding: Sequence[Holding]) -> list[Holding]:
    if not holding:
        return []
    held = {"jobs": [one.job for one in holding], "attempts": [one.attempt for one in holding]}
    over = {(job, attempt) for job, attempt in await session.execute(LOST, held)}
    return [one for one in holding if (one.job, one.attempt) in over]


async def _claim(
    session: AsyncSession,
    settings: Settings,
    cluster: Cluster,
    request: LeaseRequest,
    slots: Sequence[Slot],
    placed: Placement,
) -> list[Lease]:
    if not slots:
        return []
    queue = await look_at_queue(session, settings, cluster, slots, request.all_slots, placed)
    leases: list[Lease] = []
    while chosen := await queue.choose(session):
        tokens = {job: secrets.token_urlsafe(24) for job in chosen}
        abouts = {
            job: {
                "cluster": cluster.name,
                "slot": slot.name,
                "node": slot.node,
                "device": slot.device,
                "token_hash": hashed(tokens[job]),
            }
            for job, slot in chosen.items()
        }
        claimed = await ledger.claim(session, abouts, settings.lease_s, settings.storage_root)
        queue.note(claimed.keys())
        leases += [
            _lease(settings, job, slot, tokens[job], claimed[job]) for job, slot in chosen.items() if job in claimed
        ]
    kept = queue.reserved
    cluster.reserved = None if kept is None else {"job": kept.job.id, "node": kept.node}
    return leases


def _lease(settings: Settings, job: str, slot: Slot, token: str, claimed: Claimed) -> Lease:
    return Lease(
        job=job,
        attempt=claimed.attempt,
        slot=slot.name,
        token=token,
        spec=claimed.spec,
        init_from=claimed.init_uri,
        folder=ledger.folder_of(settings.storage_root, job, claimed.attempt),
        resume_from=claimed.earlier,
        max_runtime_s=None if claimed.max_runtime_s is None else max(claimed.max_runtime_s - claimed.runtime_s, 0.0),
    )
