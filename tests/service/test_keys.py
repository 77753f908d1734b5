"""API keys, from the command line and for the local stack."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from service.__main__ import main
from service.keys.bootstrap import bootstrap
from service.keys.secrets import hashed
from service.keys.tables import ApiKey
from tests.service.api import SPEC, Api

Command = Callable[..., Awaitable[str]]


@pytest.fixture
def command(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`python -m service keys …`: what it prints."""
    monkeypatch.setenv("PACE_DATABASE_URL", api.database.url)

    async def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["service", "keys", *arguments])
        await asyncio.to_thread(main)
        return capsys.readouterr().out.strip()

    return run


async def test_a_key_is_made_works_in_its_project_and_can_be_revoked(api: Api, command: Command) -> None:
    secret = await command("create", "--owner", "grace", "--project", "vision")
    answer = await api.call("POST", "/v1/jobs", json={"spec": SPEC}, key=secret)
    assert (answer.json()["project"], answer.json()["owner"]) == ("vision", "grace")
    await command("revoke", secret)
    assert (await api.call("GET", "/v1/jobs", key=secret)).status_code == 401
    with pytest.raises(SystemExit, match="no such key"):
        await command("revoke", secret)


async def test_the_secret_itself_is_not_stored(api: Api) -> None:
    async with api.database.transaction() as session:
        rows = (await session.execute(select(ApiKey))).scalars().all()
    assert {row.secret_hash for row in rows} == {hashed(api.keys.admin), hashed(api.keys.worker)}
    assert not any(api.keys.admin in str(vars(row)) for row in rows)


async def test_a_stack_keeps_its_keys_when_its_database_was_wiped(api: Api) -> None:
    url = api.database.url
    first = await bootstrap(url)
    await api.sql("DELETE FROM api_keys")
    assert await bootstrap(url, first) == first
    assert await bootstrap(url, first) == first
    assert (await api.call("GET", "/v1/jobs", key=first.admin)).status_code == 200
    assert (await api.call("GET", "/v1/events", key=first.worker)).status_code == 200


async def test_roles_are_kept_apart(api: Api, command: Command) -> None:
    user = await command("create", "--owner", "x")
    worker = await command("create", "--owner", "x", "--role", "worker")
    assert (await api.call("GET", "/v1/jobs", key=user)).status_code == 200
    assert (await api.call("GET", "/v1/jobs", key=worker)).status_code == 200  # it reads what it tracks
    assert (await api.call("GET", "/v1/events", key=user)).status_code == 403
    assert (await api.call("GET", "/v1/events", key=worker)).status_code == 200
    job = await api.submit()
    assert (await api.call("POST", f"/v1/jobs/{job}/cancel", key=worker)).status_code == 403
