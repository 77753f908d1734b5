"""API keys: who holds which, what each may do, and how it stops working."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
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


async def make(api: Api, **request: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/keys", json={"name": "laptop", **request})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def status(api: Api, key: str, path: str = "/v1/jobs") -> int:
    return (await api.call("GET", path, key=key)).status_code


async def test_the_first_key_is_made_without_one_and_can_be_revoked(api: Api, command: Command) -> None:
    secret = await command("create", "--owner", "grace", "--project", "vision")
    answer = await api.call("POST", "/v1/jobs", json={"spec": SPEC}, key=secret)
    assert (answer.json()["project"], answer.json()["owner"]) == ("vision", "grace")
    (made,) = (await api.get("/v1/keys?owner=grace"))["data"]
    await command("revoke", made["id"])
    async with asyncio.timeout(1):  # another process has done so: the service is told
        while await status(api, secret) != 401:
            await asyncio.sleep(0.02)
    with pytest.raises(SystemExit, match="no such key"):
        await command("revoke", made["id"])
    said = (await api.get(f"/v1/audit?target={made['id']}"))["data"]
    assert [(entry["action"], entry["actor"], entry["role"]) for entry in said] == [
        ("key.revoke", getpass.getuser(), "command"),
        ("key.create", getpass.getuser(), "command"),
    ]
    assert said[1]["detail"] == {"owner": "grace", "role": "user"}


async def test_the_secret_itself_is_not_stored(api: Api) -> None:
    async with api.database.transaction() as session:
        rows = (await session.execute(select(ApiKey))).scalars().all()
    assert {row.secret_hash for row in rows} == {hashed(secret) for secret in vars(api.keys).values()}
    assert not any(api.keys.admin in str(vars(row)) for row in rows)
    assert api.keys.admin not in (await api.call("GET", "/v1/keys")).text


async def test_a_stack_keeps_its_keys_when_its_database_was_wiped(api: Api) -> None:
    url = api.database.url
    first = await bootstrap(url)
    await api.sql("DELETE FROM api_keys")
    assert await bootstrap(url, vars(first)) == first
    assert await bootstrap(url, vars(first)) == first
    assert await status(api, first.admin) == 200
    assert await status(api, first.tracking, "/v1/events") == 200


async def test_a_stack_of_before_keeps_the_two_keys_that_it_had_and_gets_the_others(api: Api) -> None:
    had = {"admin": "pace_old_admin", "worker": "pace_old_worker"}
    keys = await bootstrap(api.database.url, had)
    assert (keys.admin, keys.worker) == ("pace_old_admin", "pace_old_worker")
    assert await status(api, keys.user) == 200


ALLOWED = {
    # what is asked → the roles that may
    ("GET", "/v1/jobs"): {"user", "reader", "tracking", "admin"},
    ("GET", "/v1/leaderboards/vtab-mini"): {"user", "reader", "tracking", "admin"},
    ("POST", "/v1/jobs"): {"user", "admin"},
    ("POST", "/v1/jobs/{job}/cancel"): {"user", "admin"},
    ("POST", "/v1/jobs/{job}/retry"): {"user", "admin"},
    ("PATCH", "/v1/jobs/{job}"): {"user", "admin"},
    ("DELETE", "/v1/jobs/{job}"): {"user", "admin"},
    ("GET", "/v1/jobs/{job}/artifacts"): {"user", "reader", "tracking", "admin"},
    ("GET", "/v1/events"): {"tracking", "admin"},
    ("GET", "/v1/cursors/mlflow"): {"tracking", "admin"},
    ("PUT", "/v1/cursors/mlflow"): {"tracking", "admin"},
    ("PUT", "/v1/jobs/{job}/tracking"): {"tracking", "admin"},
    ("GET", "/v1/studies?untracked=true"): {"user", "reader", "tracking", "admin"},
    ("GET", "/v1/studies/study_0/report"): {"user", "reader", "tracking", "admin"},
    ("PUT", "/v1/studies/study_0/tracking"): {"tracking", "admin"},
    ("POST", "/v1/studies/study_0/found"): {"worker"},
    ("POST", "/v1/leases"): {"worker"},
    ("POST", "/v1/leases/{job}/1/reports"): {"worker"},
    ("POST", "/v1/heartbeats"): {"worker", "tracking"},
    ("GET", "/metrics"): {"tracking", "admin"},
    ("GET", "/v1/keys"): {"user", "admin"},
    ("POST", "/v1/keys"): {"admin"},
    ("DELETE", "/v1/keys?owner=nobody"): {"admin"},
    ("POST", "/v1/projects"): {"admin"},
    ("POST", "/v1/projects/default/archive"): {"admin"},
    ("GET", "/v1/projects"): {"user", "reader", "tracking", "admin"},
    ("GET", "/v1/audit"): {"admin"},
    ("GET", "/v1/clusters"): {"admin"},
    ("POST", "/v1/clusters/local/drain"): {"admin"},
    ("POST", "/v1/clusters/join"): {"worker"},
    ("POST", "/v1/clusters/leave"): {"worker"},
    ("POST", "/v1/clusters/proofs"): {"worker"},
    ("POST", "/v1/clusters/local/undrain"): {"admin"},
}


@pytest.mark.parametrize("asked", ALLOWED, ids=lambda asked: " ".join(asked))
async def test_each_role_may_do_its_own(api: Api, asked: tuple[str, str]) -> None:
    method, path = asked
    path = path.format(job=await api.submit())
    answers = {role: await api.call(method, path, json={}, key=key) for role, key in vars(api.keys).items()}
    assert {role for role, answer in answers.items() if answer.status_code != 403} == ALLOWED[asked]
    assert all(answer.status_code < 500 for answer in answers.values())


async def test_keys_are_listed_with_all_but_their_secrets(api: Api) -> None:
    made = await make(api, owner="grace", role="user", expires_in_s=3600)
    (listed,) = (await api.get("/v1/keys?owner=grace"))["data"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert (listed["role"], listed["project"], listed["last_used_at"]) == ("user", "default", None)
    assert timedelta(minutes=59) < datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC) < timedelta(hours=1)
    await status(api, made["secret"])
    assert (await api.get("/v1/keys?owner=grace"))["data"][0]["last_used_at"] is not None


async def test_a_key_works_until_it_expires(api: Api) -> None:
    made = await make(api, expires_in_s=3600)
    assert await status(api, made["secret"]) == 200
    await api.sql("UPDATE api_keys SET expires_at = now() WHERE id = %s", made["id"])
    assert await status(api, made["secret"]) == 401
    assert (await api.get("/v1/keys?owner=laptop"))["data"] == []
    assert len((await api.get("/v1/keys?owner=laptop&all=true"))["data"]) == 1


async def test_a_lost_key_is_revoked_by_its_id_and_a_person_by_name(api: Api) -> None:
    one, two = [await make(api, owner="grace") for _ in range(2)]
    revoked = await api.call("DELETE", f"/v1/keys/{one['id']}")
    assert revoked.json()["revoked_at"] is not None
    assert await status(api, one["secret"]) == 401
    assert (await api.call("DELETE", f"/v1/keys/{one['id']}")).json() == revoked.json(), "again changes nothing"
    assert (await api.call("DELETE", "/v1/keys?owner=grace")).json() == {"revoked": [two["id"]]}
    assert await status(api, two["secret"]) == 401
    assert (await api.call("DELETE", "/v1/keys/key_none")).status_code == 404


async def test_a_key_is_rotated_without_a_gap(api: Api) -> None:
    old = await make(api, owner="grace", role="worker", cluster="north")
    new = (await api.call("POST", f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 600})).json()
    assert (new["role"], new["owner"], new["cluster"]) == ("worker", "grace", "north")
    beat = {"part": "ray", "ok": True}
    for secret in (old["secret"], new["secret"]):
        assert (await api.call("POST", "/v1/heartbeats", json=beat, key=secret)).status_code == 204
    await api.sql("UPDATE api_keys SET expires_at = expires_at - interval '11 minutes' WHERE expires_at IS NOT NULL")
    assert (await api.call("POST", "/v1/heartbeats", json=beat, key=old["secret"])).status_code == 401
    assert (await api.call("POST", "/v1/heartbeats", json=beat, key=new["secret"])).status_code == 204
    assert (await api.call("POST", f"/v1/keys/{old['id']}/rotate")).status_code == 404, "it no longer works"


async def test_a_user_manages_own_keys_and_nobody_elses(api: Api) -> None:
    own = await make(api, owner="grace", expires_in_s=3600)
    others = [
        await make(api, owner="ada"),
        await make(api, owner="grace", role="admin"),  # the same person's, but it may do more
        await make(api, owner="grace", role="worker"),
    ]
    key = own["secret"]
    for other in others:
        assert (await api.call("DELETE", f"/v1/keys/{other['id']}", key=key)).status_code == 404
        assert (await api.call("POST", f"/v1/keys/{other['id']}/rotate", key=key)).status_code == 404
    assert "ada" not in {found["owner"] for found in (await api.get("/v1/keys", key=key))["data"]}
    longer = {"overlap_s": 0, "expires_in_s": 1e6}
    assert (await api.call("POST", f"/v1/keys/{own['id']}/rotate", json=longer, key=key)).status_code == 403
    new = (await api.call("POST", f"/v1/keys/{own['id']}/rotate", json={"overlap_s": 0}, key=key)).json()
    assert new["expires_at"] == own["expires_at"], "a leaked key does not live longer by rotating itself"
    assert await status(api, key) == 401
    assert (await api.call("DELETE", f"/v1/keys/{new['id']}", key=new["secret"])).status_code == 200


async def test_the_last_admin_cannot_be_locked_out(api: Api) -> None:
    (admin,) = (await api.get("/v1/keys?role=admin"))["data"]
    assert (await api.call("DELETE", f"/v1/keys/{admin['id']}")).status_code == 409
    assert (await api.call("DELETE", "/v1/keys?owner=ada")).status_code == 409
    await make(api, owner="grace", role="admin")
    assert (await api.call("DELETE", f"/v1/keys/{admin['id']}")).status_code == 200


async def test_a_request_for_a_key_that_fits_no_role_says_why(api: Api) -> None:
    for request, pointer in (
        ({"role": "worker", "project": "default"}, "/project"),
        ({"role": "user", "cluster": "north"}, "/cluster"),
        ({"project": "nowhere"}, "/project"),
        ({"role": "root"}, "/role"),
        ({"expires_in_s": -1}, "/expires_in_s"),
        ({"expires_in_s": True}, "/expires_in_s"),
        ({"expires_in_s": "60"}, "/expires_in_s"),
        ({"name": "x" * 101}, "/name"),
        ({"owner": "a\nb"}, "/owner"),
    ):
        refused = await api.call("POST", "/v1/keys", json={"name": "x", **request})
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer], request


async def test_what_is_open_with_a_key_ends_when_it_is_revoked(api: Api, http: httpx2.AsyncClient) -> None:
    made = await make(api, role="user")
    job = await api.submit()
    authorization = {"Authorization": f"Bearer {made['secret']}"}
    waiting = asyncio.create_task(http.get(f"/v1/jobs/{job}?wait=50", headers=authorization))
    async with asyncio.timeout(4), http.stream("GET", f"/v1/jobs/{job}/events/stream", headers=authorization) as stream:
        lines = stream.aiter_lines()
        while not (await anext(lines)).startswith("event: state"):
            pass
        await asyncio.sleep(0.1)  # let the other wait too; were it not waiting yet, it would be refused all the same
        await api.call("DELETE", f"/v1/keys/{made['id']}")
        rest = [line async for line in lines]
        assert (await waiting).status_code == 401
    assert not any(line.startswith("event: end") for line in rest), "the client shall ask again, and be refused"


async def test_a_lease_is_not_given_to_a_key_that_was_revoked_meanwhile(api: Api) -> None:
    (worker,) = (await api.get("/v1/keys?role=worker"))["data"]
    waiting = asyncio.create_task(api.ask(wait_s=20))
    await asyncio.sleep(0.2)
    await api.call("DELETE", f"/v1/keys/{worker['id']}")
    job = await api.submit()
    async with asyncio.timeout(4):
        assert (await waiting).status_code == 401
    assert (await api.job(job))["attempt"] == 0
