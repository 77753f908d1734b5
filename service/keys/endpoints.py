"""Make, list, rotate and revoke keys."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault
from service.audit import log
from service.db import Transaction
from service.keys import secrets
from service.keys.auth import Admin, AnyCaller, Caller, User
from service.keys.roles import PARTS, Role
from service.keys.schemas import KeyRequest, KeyView, Name, NewKey, Revoked, Rotation
from service.keys.tables import ApiKey
from service.problems import Conflict, Forbidden, Invalid, NotFound
from service.projects.queries import open_project

router = APIRouter(prefix="/v1/keys", tags=["keys"])

_Id = Annotated[str, Path(max_length=100)]


@router.post("", status_code=201, summary="Make a key")
async def post_key(request: Request, session: Transaction, caller: Admin, body: KeyRequest) -> NewKey:
    """Makes a key. The answer holds the secret, this once."""
    _check_place(body)
    project = None
    if body.role not in PARTS:
        project = (
            await open_project(session, body.project or caller.project or secrets.DEFAULT_PROJECT, "/project")
        ).name
    key, secret = await secrets.make_key(
        session,
        body.role,
        body.owner or body.name,
        project,
        cluster=body.cluster,
        name=body.name,
        expires_at=await _after(session, body.expires_in_s),
    )
    log.record(session, request, caller, "key.create", key.id, project, role=key.role, owner=key.owner)
    return NewKey(**KeyView.model_validate(key).model_dump(), secret=secret)


@router.get("", summary="List keys, newest first")
async def list_keys(
    session: Transaction,
    caller: User,
    owner: Annotated[str | None, Query(max_length=100)] = None,
    role: Role | None = None,
    project: Annotated[str | None, Query(max_length=100)] = None,
    all: bool = False,
) -> dict[str, list[KeyView]]:
    """Admins see every key, users those of their own name in their project. `all`: also those that work no longer."""
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(1000)
    if caller.bounded:
        query = query.where(ApiKey.owner == caller.owner, ApiKey.project == caller.project)
    for column, wanted in ((ApiKey.owner, owner), (ApiKey.role, role), (ApiKey.project, project)):
        if wanted is not None:
            query = query.where(column == wanted)
    if not all:
        query = query.where(secrets.usable())
    return {"data": [KeyView.model_validate(key) for key in (await session.execute(query)).scalars()]}


@router.get("/own", summary="Read the key of this request")
async def get_own_key(session: Transaction, caller: AnyCaller) -> KeyView:
    """Returns who the key makes its holder: owner, role and project. A session answers with the key it stands for."""
    return KeyView.model_validate(await session.get_one(ApiKey, caller.key_id))


@router.delete("/{key_id}", summary="Revoke a key")
async def delete_key(request: Request, session: Transaction, caller: User, key_id: _Id) -> KeyView:
    """Works at once, also on what is open with the key. Revoking a revoked key changes nothing."""
    key = await _find(session, caller, key_id)
    await _keep_an_admin(session, {key.id})
    if await secrets.revoke(session, ApiKey.id == key.id):
        log.record(session, request, caller, "key.revoke", key.id, key.project, owner=key.owner)
    await session.refresh(key)
    return KeyView.model_validate(key)


@router.delete("", summary="Revoke every key of an owner")
async def delete_keys(
    request: Request, session: Transaction, caller: Admin, owner: Annotated[Name, Query()]
) -> Revoked:
    """Revokes all keys of somebody who leaves, or whose machine was lost."""
    found = await session.execute(select(ApiKey.id).where(ApiKey.owner == owner))
    await _keep_an_admin(session, set(found.scalars()))
    revoked = await secrets.revoke(session, ApiKey.owner == owner)
    for key_id in revoked:
        log.record(session, request, caller, "key.revoke", key_id, owner=owner)
    return Revoked(revoked=revoked)


@router.post("/{key_id}/rotate", status_code=201, summary="Make a key in the place of another")
async def rotate_key(
    request: Request, session: Transaction, caller: User, key_id: _Id, body: Rotation | None = None
) -> NewKey:
    """Replaces a key. The new one may do what the old one may, which still works for `overlap_s`, so nothing fails."""
    body = body or Rotation()
    old = await _find(session, caller, key_id, working=True)
    if body.expires_in_s is not None and caller.role is not Role.ADMIN:
        raise Forbidden("only an admin gives a key a new expiry; leave expires_in_s out")
    key, secret = await secrets.make_key(
        session,
        Role(old.role),
        old.owner,
        old.project,
        cluster=old.cluster,
        name=old.name,
        expires_at=old.expires_at if body.expires_in_s is None else await _after(session, body.expires_in_s),
    )
    await secrets.retire(session, old.id, body.overlap_s)
    log.record(session, request, caller, "key.rotate", old.id, old.project, new=key.id, overlap_s=body.overlap_s)
    return NewKey(**KeyView.model_validate(key).model_dump(), secret=secret)


async def _find(session: AsyncSession, caller: Caller, key_id: str, *, working: bool = False) -> ApiKey:
    query = select(ApiKey).where(ApiKey.id == key_id).with_for_update()
    if caller.bounded:
        query = query.where(ApiKey.owner == caller.owner, ApiKey.project == caller.project, ApiKey.role == caller.role)
    if working:
        query = query.where(secrets.usable())
    key = (await session.execute(query)).scalar_one_or_none()
    if key is None:
        raise NotFound(f"there is no key {key_id!r}{' that works' if working else ''}, or it is not yours")
    return key


async def _keep_an_admin(session: AsyncSession, going: set[str]) -> None:
    admins = await secrets.usable_admins(session)
    if admins and admins <= going:
        raise Conflict("that would leave no admin's key that works; make another one first")


def _check_place(body: KeyRequest) -> None:
    faults: list[Fault] = []
    if body.project is not None and body.role in PARTS:
        message = f"a key of role {body.role} belongs to no project; leave the field out"
        faults.append(Fault(pointer="/project", code="conflict", message=message))
    if body.cluster is not None and body.role is not Role.WORKER:
        message = "only a worker's key is bound to a cluster; leave the field out"
        faults.append(Fault(pointer="/cluster", code="conflict", message=message))
    if faults:
        raise Invalid("the request has faults", faults)


async def _after(session: AsyncSession, seconds: float | None) -> datetime | None:
    """By the database's clock, which says too whether a key has expired."""
    if seconds is None:
        return None
    return (await session.execute(select(func.now()))).scalar_one() + timedelta(seconds=seconds)
