"""Gives queued jobs to the free slots of a cluster."""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import LEASED
from pace_core.spec.leases import Lease, LeaseRequest, LeaseResponse, Slot, Upload
from service.clusters.joining import Announced, admit
from service.clusters.tables import Cluster
from service.datasets.queries import uploads_of
from service.datasets.tables import SOURCE
from service.db import Database
from service.jobs import ledger
from service.jobs.ledger import Claimed, End
from service.jobs.tables import Attempt, Job
from service.keys.auth import Caller, cluster_of, still_valid
from service.keys.secrets import hashed, topic
from service.leases.queue import look_at_queue
from service.leases.settle import settle
from service.leases.statements import LOOK
from service.settings import Settings
from service.wake import QUEUE, SUPPLY, Wakes, notify

_TOGETHER_S = 0.01  # jobs submitted one after the other are looked at together
_LOOKED_FOR = 100  # paths in one answer
_PATHS_BYTES = 200_000  # of paths of which a cluster says in a request whether it has them
_SLOTS = TypeAdapter(list[Slot])
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
            found = (await session.execute(LOOK, _asked(cluster, generation, request))).one_or_none()
            if found is None:
                return LeaseResponse(leases=[], lost=[], lease_s=settings.lease_s)
            taken = await _taken_slots(session, cluster, request, found.live, settings.retry_after_s)
            over = {(job, attempt) for job, attempt in found.lost}
            lost = [held for held in request.holding if (held.job, held.attempt) in over]
            free = [slot for slot in request.slots if slot.name not in taken]
            leases, wanted = await _claim(session, settings, cluster, request, free, found.reserved)
        look_for = _to_look_for(wanted, request.paths)
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
    notify(session, SUPPLY)
    announced = Announced(_SLOTS.dump_json(request.all_slots).decode(), json.dumps(request.paths or {}))
    _, generation = await admit(session, settings, cluster, request.dispatcher, request.code_version, announced)
    return generation


def _asked(cluster: str, generation: int, request: LeaseRequest) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "generation": generation,
        # as JSON, which is much quicker to write than an array
        "idle": json.dumps([slot.name for slot in (*request.slots, *(s for s in request.all_slots if s.trouble))]),
        "every": json.dumps([slot.name for slot in request.all_slots]),
        "holding": json.dumps([{"job": held.job, "attempt": held.attempt} for held in request.holding]),
    }


async def _taken_slots(
    session: AsyncSession, cluster: str, request: LeaseRequest, jobs: Sequence[str], retry_after_s: float
) -> set[str]:
    """Slots announced free for which an attempt of these jobs is on its way: granted or ended a moment ago, by another
    answer.

    Where nothing was heard of the attempt for longer, the cluster does not run it: it is ended here. So is what was
    given to a slot that says now what is wrong with it, and what ran in one that the cluster no longer has, as after a
    start of Ray, whose nodes then have other names.
    """
    if not jobs:
        return set()
    holding = {(held.job, held.attempt) for held in request.holding}
    late = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _IN_FLIGHT_S)
    live = await session.execute(
        select(Job, Attempt, (Attempt.renewed_at < late).label("silent"))
        .join(Attempt, (Attempt.job == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.id.in_(jobs), Job.state.in_(LEASED), Attempt.cluster == cluster)
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


async def _claim(
    session: AsyncSession,
    settings: Settings,
    cluster: str,
    request: LeaseRequest,
    slots: Sequence[Slot],
    reserved: dict[str, str] | None,
) -> tuple[list[Lease], Iterable[str]]:
    """Returns the leases, and the data of which the cluster has not said whether it has them."""
    if not slots:
        return [], ()
    before = reserved["job"] if reserved else None
    queue = await look_at_queue(session, settings, cluster, slots, request.all_slots, request.paths, before)
    leases: list[Lease] = []
    while chosen := await queue.choose(session):
        tokens = {job: secrets.token_urlsafe(24) for job in chosen}
        abouts = {
            job: {
                "cluster": cluster,
                "slot": slot.name,
                "node": slot.node,
                "device": slot.device,
                "token_hash": hashed(tokens[job]),
            }
            for job, slot in chosen.items()
        }
        claimed = await ledger.claim(session, abouts, settings.lease_s, settings.storage_root)
        queue.note(claimed.keys())
        uploads = await uploads_of(session, settings, _uploaded(claimed))
        leases += [
            _lease(settings, job, slot, tokens[job], claimed[job], uploads.get(job))
            for job, slot in chosen.items()
            if job in claimed
        ]
    kept = None if queue.reserved is None else {"job": queue.reserved.job.id, "node": queue.reserved.node}
    if kept != reserved:
        await session.execute(update(Cluster).where(Cluster.name == cluster).values(reserved=kept))
    return leases, queue.look_for


def _uploaded(claimed: Mapping[str, Claimed]) -> dict[str, str]:
    """Job → the uploaded data set that it names, of those that name one."""
    tasks = {job: each.spec["task"] for job, each in claimed.items()}
    return {job: task["dataset"] for job, task in tasks.items() if task.get("source") == SOURCE}


def _lease(settings: Settings, job: str, slot: Slot, token: str, claimed: Claimed, upload: Upload | None) -> Lease:
    return Lease(
        job=job,
        attempt=claimed.attempt,
        slot=slot.name,
        token=token,
        spec=claimed.spec,
        init_from=claimed.init_uri,
        upload=upload,
        folder=ledger.folder_of(settings.storage_root, job, claimed.attempt),
        resume_from=claimed.earlier,
        max_runtime_s=None if claimed.max_runtime_s is None else max(claimed.max_runtime_s - claimed.runtime_s, 0.0),
    )
