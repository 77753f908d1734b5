"""Begin and end sessions; make links that begin one."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import delete, func
from sqlalchemy.ext.asyncio import AsyncSession

from service.audit import log
from service.db import Transaction
from service.keys.auth import Reader
from service.keys.secrets import SESSION, hashed, topic, usable
from service.keys.tables import ApiKey
from service.problems import Unauthorized
from service.sessions.schemas import Exchange, NewSession
from service.sessions.tables import Session
from service.wake import notify

router = APIRouter(prefix="/v1/sessions", tags=["keys"])

_SESSION_S = 30 * 86_400.0
_LINK_S = 3_600.0  # as long as somebody may look for it in what `pace up` printed
_given = HTTPBearer(auto_error=False)


@router.post("", status_code=201, summary="Begin a session")
async def post_session(request: Request, session: Transaction, caller: Reader) -> NewSession:
    """Answers with a secret that may do what the key may, for thirty days or until the key stops working.

    A browser keeps it in a cookie, so that the key itself is typed once and stored nowhere.
    """
    log.record(session, request, caller, "session.begin", caller.key_id, caller.project)
    return await _new(session, caller.key_id, link=False)


@router.post("/links", status_code=201, summary="Make a link that begins a session")
async def post_link(request: Request, session: Transaction, caller: Reader) -> NewSession:
    """Answers with a secret that `POST /v1/sessions/exchange` takes within the hour, once: for an address to click on.

    Whoever opens it first is signed in as the holder of the key.
    """
    log.record(session, request, caller, "session.link", caller.key_id, caller.project)
    return await _new(session, caller.key_id, link=True)


@router.post("/exchange", status_code=201, summary="Exchange a link for a session")
async def exchange_link(session: Transaction, body: Exchange) -> NewSession:
    """Begins the session; the link is used up."""
    mine = (Session.secret_hash == hashed(body.link), Session.link, Session.expires_at > func.now())
    found = await session.execute(
        delete(Session).where(*mine, Session.key == ApiKey.id, usable()).returning(Session.key)
    )
    key = found.scalar_one_or_none()
    if key is None:
        raise Unauthorized("this link is used up or too old; `pace status` prints a new one")
    return await _new(session, key, link=False)


@router.delete("", status_code=204, summary="End the session")
async def delete_session(
    session: Transaction, caller: Reader, given: Annotated[HTTPAuthorizationCredentials, Depends(_given)]
) -> None:
    """Makes the secret of this request useless, where it is that of a session; a key goes on working."""
    await session.execute(delete(Session).where(Session.secret_hash == hashed(given.credentials)))
    notify(session, topic(caller.key_id))  # nothing that was read of it a moment ago counts any more


async def _new(session: AsyncSession, key: str, *, link: bool) -> NewSession:
    secret = f"pace_link_{secrets.token_hex(16)}" if link else f"{SESSION}{secrets.token_hex(32)}"
    expires_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, _LINK_S if link else _SESSION_S)
    made = Session(secret_hash=hashed(secret), key=key, link=link, expires_at=expires_at)
    session.add(made)
    await session.flush()
    await session.refresh(made)
    return NewSession(secret=secret, expires_at=made.expires_at)
