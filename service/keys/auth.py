"""Authentication of who asks, and whether they may."""

import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.exc import DBAPIError

from service.db import Database
from service.keys.roles import PARTS, Role
from service.keys.secrets import KEY, SESSION, hashed, usable
from service.keys.tables import ApiKey
from service.problems import Forbidden, Unauthorized
from service.sessions.tables import Session

_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer pace_…`")
_USED_S = 60.0  # last use is written this often, not at every request


@dataclass(frozen=True)
class Caller:
    """Whoever holds the key of a request."""

    key_id: str
    role: Role
    owner: str
    project: str | None
    """None for workers and tracking."""
    cluster: str | None = None
    """The cluster of a worker's key."""

    def sees(self, project: str) -> bool:
        """Tells whether that project's jobs exist for this caller."""
        return self.role in (Role.ADMIN, Role.TRACKING) or self.project == project

    @property
    def bounded(self) -> bool:
        """Whether the caller is kept to one project."""
        return self.role in (Role.USER, Role.READER)


def cluster_of(caller: Caller) -> str:
    """Returns the cluster that a worker's key leases for."""
    assert caller.cluster is not None, "the table holds that workers have a cluster"
    return caller.cluster


class _Known(NamedTuple):
    caller: Caller
    until: float
    """When the key expires, by this process's monotonic clock."""


async def authenticated(database: Database, secret: str | None) -> Caller:
    """Returns the holder of that key. Raises Unauthorized where it is unknown, revoked or expired.

    A key that worked within the last second is not looked up again, unless its topic was told since.
    """
    if secret is None:
        raise Unauthorized("send your API key as `Authorization: Bearer pace_…`; `pace up` and `pace status` name it")
    digest = hashed(secret)
    if secret.startswith(SESSION):
        began = select(Session.key).where(Session.secret_hash == digest, ~Session.link, Session.expires_at > func.now())
        else_ = "this session has ended, or its key was revoked; sign in again"
        return await _known(database, ApiKey.id.in_(began), digest, else_)
    else_ = "this API key is unknown, expired or revoked"
    return await _known(database, ApiKey.secret_hash == digest, digest, else_)


async def still_valid(database: Database, caller: Caller) -> None:
    """Looks again, within what stays open for long. Raises Unauthorized where the key has stopped working."""
    known = ApiKey.id == caller.key_id
    await _known(database, known, caller.key_id, "this API key has expired or was revoked")


async def _known(database: Database, which: ColumnElement[bool], value: str, else_: str) -> Caller:
    """The holder of the key that `which` finds; `value` is what a read of a moment ago is found by."""

    async def read() -> _Known:
        late = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _USED_S)
        said = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < late)
        left_s = func.extract("epoch", ApiKey.expires_at - func.now())
        query = select(ApiKey, said.label("say"), left_s.label("left_s")).where(which, usable())
        async with database.lone() as session:  # its own, short: a long poll holds no connection
            row = (await session.execute(query)).one_or_none()
            if row is None:
                raise Unauthorized(else_)  # and not kept: whoever guesses fills nothing
            key: ApiKey = row.ApiKey
            if row.say:
                await session.execute(update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=func.now()))
        until = math.inf if row.left_s is None else time.monotonic() + float(row.left_s)
        return _Known(Caller(key.id, Role(key.role), key.owner, key.project, key.cluster), until)

    known = await database.recent.get(KEY, value, read)
    if known.until <= time.monotonic():
        raise Unauthorized(else_)
    return known.caller


async def _caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Caller:
    return await _of_request(request, given)


async def _of_request(request: Request, given: HTTPAuthorizationCredentials | None) -> Caller:
    caller = await authenticated(request.app.state.database, given.credentials if given else None)
    request.state.caller = caller  # for the line in the log
    return caller


AnyCaller = Annotated[Caller, Depends(_caller)]


async def _maybe(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Caller | None:
    try:
        return await _of_request(request, given)
    except (Unauthorized, DBAPIError, OSError):  # also where the database is away
        return None


MaybeCaller = Annotated[Caller | None, Depends(_maybe)]
"""Whoever holds the key; None for a stranger."""


def _only(who: str, *roles: Role) -> Callable[[Caller], Coroutine[Any, Any, Caller]]:
    async def allowed(caller: AnyCaller) -> Caller:
        if caller.role not in roles:
            raise Forbidden(f"a key of role {caller.role} may not do this; it takes {who}")
        return caller

    return allowed


Reader = Annotated[
    Caller, Depends(_only("a key of role user, reader, tracking or admin", *(set(Role) - {Role.WORKER})))
]
"""Who may look at jobs."""
User = Annotated[Caller, Depends(_only("a key of role user or admin", Role.USER, Role.ADMIN))]
"""Who may submit and change jobs."""
Worker = Annotated[Caller, Depends(_only("a worker's key (`pace key create NAME --role worker`)", Role.WORKER))]
"""Who may lease and report."""
Tracking = Annotated[Caller, Depends(_only("a key of role tracking or admin", Role.TRACKING, Role.ADMIN))]
"""Who may read all jobs' events and say where they are shown."""
Part = Annotated[Caller, Depends(_only("a key of role worker or tracking", *PARTS))]
"""Who may send heartbeats."""
Admin = Annotated[Caller, Depends(_only("an admin's key", Role.ADMIN))]
"""Who may manage keys, projects and clusters."""
