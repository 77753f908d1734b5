"""Sessions: what a browser holds in the place of a key."""

import asyncio
from typing import Any

from service.client import AsyncClient
from tests.service.api import Api


async def begun(api: Api, key: str) -> str:
    answer = await api.call("POST", "/v1/sessions", key=key)
    assert answer.status_code == 201, answer.text
    return answer.json()["secret"]


async def linked(api: Api, key: str) -> str:
    answer = await api.call("POST", "/v1/sessions/links", key=key)
    assert answer.status_code == 201, answer.text
    return answer.json()["secret"]


async def exchanged(api: Api, link: str) -> Any:
    return await api.http.post("/v1/sessions/exchange", json={"link": link})


async def status(api: Api, secret: str) -> int:
    return (await api.call("GET", "/v1/jobs", key=secret)).status_code


async def test_a_session_is_who_its_key_is(api: Api) -> None:
    secret = await begun(api, api.keys.reader)
    own = await api.get("/v1/keys/own", key=secret)
    assert (own["owner"], own["role"], own["project"]) == ("rita", "reader", "default")
    assert own == await api.get("/v1/keys/own", key=api.keys.reader)
    assert await status(api, secret) == 200
    assert (await api.call("POST", "/v1/jobs", key=secret, json={})).status_code == 403, "a reader's session only reads"


async def test_neither_secret_is_stored(api: Api) -> None:
    session, link = await begun(api, api.keys.user), await linked(api, api.keys.user)
    stored = str(await api.sql("SELECT * FROM sessions"))
    assert session not in stored
    assert link not in stored


async def test_a_link_begins_one_session_and_is_no_session_itself(api: Api) -> None:
    link = await linked(api, api.keys.user)
    assert await status(api, link) == 401
    answers = await asyncio.gather(*(exchanged(api, link) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 401, 401, 401, 401]
    (secret,) = [answer.json()["secret"] for answer in answers if answer.status_code == 201]
    assert await status(api, secret) == 200
    assert "`pace status` prints a new one" in (await exchanged(api, link)).json()["detail"]


async def test_a_session_is_no_link(api: Api) -> None:
    secret = await begun(api, api.keys.user)
    assert (await exchanged(api, secret)).status_code == 401
    assert await status(api, secret) == 200


async def test_a_session_ends_alone(api: Api) -> None:
    one, other = await begun(api, api.keys.user), await begun(api, api.keys.user)
    assert (await status(api, one), await status(api, other)) == (200, 200)
    assert (await api.call("DELETE", "/v1/sessions", key=one)).status_code == 204
    assert (await status(api, one), await status(api, other), await status(api, api.keys.user)) == (401, 200, 200)


async def test_with_the_key_its_sessions_and_links_end_at_once(api: Api) -> None:
    secret, link = await begun(api, api.keys.user), await linked(api, api.keys.user)
    assert await status(api, secret) == 200
    own = await api.get("/v1/keys/own", key=secret)
    assert (await api.call("DELETE", f"/v1/keys/{own['id']}")).status_code == 200
    assert await status(api, secret) == 401
    assert (await exchanged(api, link)).status_code == 401


async def test_both_expire(api: Api) -> None:
    secret, link = await begun(api, api.keys.user), await linked(api, api.keys.user)
    await api.sql("UPDATE sessions SET expires_at = now() - interval '1 second'")
    assert await status(api, secret) == 401
    assert (await exchanged(api, link)).status_code == 401


async def test_workers_have_no_use_for_one(api: Api) -> None:
    assert (await api.call("POST", "/v1/sessions", key=api.keys.worker)).status_code == 403
    assert (await api.call("POST", "/v1/sessions/links", key=api.keys.worker)).status_code == 403


async def test_signing_in_is_in_the_audit(api: Api) -> None:
    await begun(api, api.keys.user)
    (entry,) = (await api.get("/v1/audit?action=session"))["data"]
    assert (entry["action"], entry["actor"]) == ("session.begin", "ada")


async def test_the_client_begins_and_ends_sessions(api: Api, base_url: str) -> None:
    async with AsyncClient(base_url, api.keys.user) as client:
        link = (await client.sessions.link()).secret
        session = (await client.sessions.exchange(link)).secret
    async with AsyncClient(base_url, session) as browser:
        assert (await browser.sessions.own_key()).owner == "ada"
        await browser.sessions.end()
    assert await status(api, session) == 401
