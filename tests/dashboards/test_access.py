"""Keys, projects with their limits, and the audit."""

import re

import pytest
import pytest_asyncio

from tests.dashboards.conftest import Visitor
from tests.dashboards.test_overview import EVIL, text_of
from tests.service.api import Api


@pytest_asyncio.fixture
async def admin(visitor: Visitor, api: Api) -> Visitor:
    """Signed in as an admin."""
    await visitor.sign_in(api.keys.admin)
    return visitor


async def test_a_key_is_made_shown_once_and_works(admin: Visitor, api: Api) -> None:
    fields = {"csrf": await admin.token(), "name": "laptop", "role": "user", "owner": "maria", "days": "2"}
    answer = await admin.post("/access/keys", fields)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    (secret,) = re.findall(r'class="secret"[^>]*>(pace_\w+)<', answer.text)
    own = await api.get("/v1/keys/own", key=secret)
    assert (own["owner"], own["role"]) == ("maria", "user")
    page = (await admin.get("/access/keys?owner=maria")).text
    assert secret not in page
    assert "laptop" in page
    assert "Keys 1" in text_of(page)


async def test_a_key_is_renewed_and_revoked(admin: Visitor, api: Api) -> None:
    made = (await api.call("POST", "/v1/keys", json={"name": "old"})).json()
    csrf = await admin.token()
    answer = await admin.post(f"/access/keys/{made['id']}/rotate", {"csrf": csrf})
    assert 'class="secret"' in answer.text
    assert (await admin.post(f"/access/keys/{made['id']}/revoke", {"csrf": csrf})).status_code == 303
    assert (await api.call("GET", "/v1/jobs", key=made["secret"])).status_code == 401
    assert "revoked" in text_of((await admin.get("/access/keys?all=on&owner=old")).text)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": EVIL}, "letters, digits"),
        ({"name": "x" * 5_000}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"name": "a", "days": "soon"}, "Days is a number"),
        ({"name": "a", "days": "nan"}, "Days: above 0"),
        ({"name": "a", "days": "-1"}, "Days: above 0"),
        ({"name": "a", "role": "king"}, "one of the list"),
        ({"name": "a", "role": "worker", "project": "default"}, "belongs to no project"),
        ({"name": "a", "cluster": "c"}, "only a worker"),
        ({"name": "a", "project": "nowhere"}, "there is no project"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_and_what_was_typed_stays(
    admin: Visitor, fields: dict[str, str], said: str
) -> None:
    answer = await admin.post("/access/keys", {"csrf": await admin.token(), "owner": "maria", **fields})
    assert answer.status_code in (404, 422)
    assert said in answer.text
    assert 'value="maria"' in answer.text
    assert EVIL not in answer.text


async def test_the_last_admins_key_stays(admin: Visitor, api: Api) -> None:
    own = await api.get("/v1/keys/own", key=api.keys.admin)
    answer = await admin.post(f"/access/keys/{own['id']}/revoke", {"csrf": await admin.token()})
    assert answer.status_code == 409
    assert "that would leave no admin" in answer.text


async def test_a_user_sees_their_own_keys_and_is_told_who_sees_more(member: Visitor, api: Api) -> None:
    own = await api.get("/v1/keys/own", key=api.keys.user)
    theirs = (await api.call("POST", "/v1/keys", json={"name": "theirs"})).json()
    page = (await member.get("/access/keys")).text
    assert "Admins see everybody" in text_of(page)
    assert own["id"] in page
    assert theirs["id"] not in page
    assert "Make a key" not in page
    assert (await member.post("/access/keys", {"csrf": await member.token(), "name": "a"})).status_code == 403


async def test_a_reader_is_told_what_they_may_not_see(visitor: Visitor, api: Api) -> None:
    await visitor.sign_in(api.keys.reader)
    for path, said in {"/access/keys": "of role reader", "/access/audit": "for keys of role admin"}.items():
        answer = await visitor.get(path)
        assert answer.status_code == 200
        assert said in text_of(answer.text)


async def test_a_project_is_made_limited_and_archived(admin: Visitor, api: Api) -> None:
    csrf = await admin.token()
    await admin.post("/access/limits", {"csrf": csrf, "name": "vision"})
    limits = {"max_queued": "7", "default_max_runtime_s": "1.5", "max_stored_bytes": "0.5"}
    assert (await admin.post("/access/limits/vision/limits", {"csrf": csrf, **limits})).status_code == 303
    found = await api.get("/v1/projects/vision")
    assert (found["max_queued"], found["default_max_runtime_s"], found["max_stored_bytes"]) == (7, 5400.0, 500_000_000)
    assert found["max_running"] is None
    text = text_of((await admin.get("/access/limits")).text)
    assert "Hours of a job that does not say: 1.5" in text
    await admin.post("/access/limits/vision/archive", {"csrf": csrf})
    assert "archived" in text_of((await admin.get("/access/limits")).text)
    await admin.post("/access/limits/vision/restore", {"csrf": csrf})
    assert (await api.get("/v1/projects/vision"))["archived_at"] is None


@pytest.mark.parametrize("typed", ["many", "-1", "nan", "1e400", "inf", "1" * 400])
async def test_a_limit_that_is_no_number_is_refused(admin: Visitor, api: Api, typed: str) -> None:
    fields = {"csrf": await admin.token(), "max_queued": typed, "max_running": "3"}
    answer = await admin.post("/access/limits/default/limits", fields)
    assert answer.status_code == 422
    assert "Jobs in the queue" in answer.text
    assert 'name="max_running" type="number" min="0" step="any" placeholder="as set for all" value="3"' in answer.text


async def test_a_user_sees_what_their_project_has_and_may_have(member: Visitor, api: Api) -> None:
    await api.submit()
    text = text_of((await member.get("/access/limits")).text)
    assert "Jobs in the queue 1 of " in text
    assert "Admins make projects" in text


async def test_the_audit_is_filtered_and_read_page_by_page(admin: Visitor, api: Api) -> None:
    for number in range(60):
        await api.call("POST", "/v1/projects", json={"name": f"p{number}"})
    first = (await admin.get("/access/audit?action=project")).text
    assert first.count("<tr>") == 51
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = (await admin.get(older.replace("&amp;", "&"))).text
    assert second.count("<tr>") == 11
    assert ">p59<" in first
    assert ">p0<" in second
    assert "Nobody has changed anything" in (await admin.get(f"/access/audit?actor={EVIL}")).text
    for before in ("x", "-1", "9" * 50, "٣"):
        assert (await admin.get(f"/access/audit?before={before}")).status_code == 200
