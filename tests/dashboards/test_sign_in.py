"""Signing in: what strangers see, what the cookie is, and what a request from elsewhere gets."""

from collections.abc import AsyncIterator

import pytest

from tests.dashboards.conftest import Visitor
from tests.service.api import Api

COOKIE = "pace-session-8321"
PAGES = ["/", "/jobs", "/jobs/job_1", "/leaderboards", "/anything", "/mlflow/", "/mlflow/ajax-api/2.0/mlflow/runs/get"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_stranger_sees_the_sign_in_page_only(visitor: Visitor, path: str) -> None:
    answer = await visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")
    assert answer.text == ""


async def test_after_signing_in_one_is_where_one_wanted_to_be(visitor: Visitor, api: Api) -> None:
    asked = await visitor.get("/jobs?state=failed&sort=ended")
    page = await visitor.get(asked.headers["location"])
    assert 'name="next" value="/jobs?state=failed&amp;sort=ended"' in page.text
    answer = await visitor.post("/sign-in", {"key": api.keys.user, "next": "/jobs?state=failed&sort=ended"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?state=failed&sort=ended")
    assert (await visitor.get("/")).status_code == 200


@pytest.mark.parametrize(
    "next", ["https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
             "/\t/evil.example", " https://evil.example", "evil.example", "/x\r\nSet-Cookie: a=b", "http:evil.example"]
)  # fmt: skip
async def test_nobody_is_sent_elsewhere(visitor: Visitor, api: Api, next: str) -> None:
    shown = await visitor.http.get("/sign-in", params={"next": next})
    assert 'name="next" value="/"' in shown.text
    answer = await visitor.post("/sign-in", {"key": api.keys.user, "next": next})
    assert answer.headers["location"] == "/"


async def test_the_cookie_is_no_key_and_no_script_reads_it(visitor: Visitor, api: Api) -> None:
    answer = await visitor.post("/sign-in", {"key": api.keys.user})
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith(f"{COOKIE}=pace_session_")
    assert api.keys.user not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie, "over plain HTTP a browser would drop it"


async def test_over_https_the_cookie_stays_there(visitor: Visitor, api: Api) -> None:
    visitor.http.base_url = "https://pace.example"
    answer = await visitor.post("/sign-in", {"key": api.keys.user})
    assert "Secure" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("key", ["", "pace_0", "no key at all", "pace_\r\nX: y", "ключ", "x" * 100_000, "<script>"])
async def test_a_wrong_key_is_told_so(visitor: Visitor, key: str) -> None:
    answer = await visitor.post("/sign-in", {"key": key})
    assert answer.status_code in (401, 422)
    assert 'role="alert"' in answer.text
    assert "<script>" not in answer.text.partition("<main")[2]
    assert "set-cookie" not in answer.headers


async def test_a_workers_key_opens_no_pages(visitor: Visitor, api: Api) -> None:
    answer = await visitor.post("/sign-in", {"key": api.keys.worker})
    assert answer.status_code == 403
    assert "a key of role worker may not do this" in answer.text


async def test_a_link_signs_in_once(visitor: Visitor, api: Api) -> None:
    link = (await api.call("POST", "/v1/sessions/links", key=api.keys.user)).json()["secret"]
    answer = await visitor.get(f"/sign-in/link?link={link}&next=/jobs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    assert (await visitor.get("/")).status_code == 200
    visitor.http.cookies.clear()
    again = await visitor.get(f"/sign-in/link?link={link}")
    assert again.status_code == 401
    assert "this link is used up" in again.text


@pytest.mark.parametrize("link", ["", "x", "%00", "a" * 1000, "%0d%0aSet-Cookie:%20a=b"])
async def test_a_link_that_is_none_is_told_so(visitor: Visitor, link: str) -> None:
    answer = await visitor.get(f"/sign-in/link?link={link}")
    assert answer.status_code in (401, 422)
    assert "set-cookie" not in answer.headers


async def test_a_revoked_key_is_signed_out_at_once(member: Visitor, api: Api) -> None:
    assert (await member.get("/")).status_code == 200
    own = await api.get("/v1/keys/own", key=api.keys.user)
    await api.call("DELETE", f"/v1/keys/{own['id']}")
    assert (await member.get("/")).headers["location"] == "/sign-in"
    assert (await member.get("/mlflow/")).headers["location"].startswith("/sign-in")


async def test_what_htmx_asks_for_leads_to_the_sign_in_page_too(visitor: Visitor) -> None:
    answer = await visitor.get("/", **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")


async def test_signing_out_ends_the_session_itself(member: Visitor, api: Api) -> None:
    session = member.http.cookies[COOKIE]
    assert (await member.post("/sign-out", {"csrf": await member.token()})).headers["location"] == "/sign-in"
    assert COOKIE not in member.http.cookies
    assert (await api.call("GET", "/v1/jobs", key=session)).status_code == 401


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://pace.example", "http://pace.example:8322", "null", "",
               "http://pace.example:8321.evil.example"]
)  # fmt: skip
async def test_no_other_site_changes_anything(member: Visitor, api: Api, origin: str) -> None:
    token = await member.token()
    for path in ("/sign-out", "/sign-in", "/mlflow/ajax-api/2.0/mlflow/runs/delete"):
        answer = await member.post(path, {"csrf": token, "key": api.keys.user}, Origin=origin)
        assert answer.status_code == 403
    assert (await member.get("/")).status_code == 200


@pytest.mark.parametrize("token", ["", "0" * 64, "ключ"])
async def test_a_change_shows_the_pages_token(member: Visitor, token: str) -> None:
    assert (await member.post("/sign-out", {"csrf": token})).status_code == 403
    assert (await member.get("/")).status_code == 200


@pytest.mark.parametrize("cookie", ["x", "pace_session_0", "a b", '"', "pace_session_" + "0" * 100_000, "\xff"])
async def test_a_forged_cookie_is_nobody(visitor: Visitor, cookie: str) -> None:
    answer = await visitor.http.get("/", headers={b"Cookie": f"{COOKIE}={cookie}".encode("latin-1")})
    assert answer.status_code == 303


async def test_pages_run_no_script_but_their_own_and_are_framed_by_nobody(member: Visitor) -> None:
    for path in ("/", "/sign-in", "/nowhere"):
        answer = await member.get(path)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "onclick" not in answer.text
        assert "<script>" not in answer.text
        assert "unsafe-eval" not in policy


async def test_files_are_kept_by_browsers_for_good(visitor: Visitor) -> None:
    page = (await visitor.get("/sign-in")).text
    sheet = page.partition('stylesheet" href="')[2].partition('"')[0]
    answer = await visitor.get(sheet)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    for path in ("/static/x/nothing.css", "/static/x/..%2f..%2fmain.py", "/static/x/../main.py"):
        assert (await visitor.get(path)).status_code in (303, 404)


async def test_the_api_is_where_it_was(visitor: Visitor, api: Api) -> None:
    assert (await visitor.get("/v1/jobs")).status_code == 401
    assert (await visitor.get("/v1/jobs", Authorization=f"Bearer {api.keys.user}")).json()["data"] == []
    assert (await visitor.get("/healthz")).json() == {"status": "ok"}
    assert (await visitor.get("/openapi.json")).json()["info"]["version"] == "1"
    assert "swagger" in (await visitor.get("/docs")).text.lower()


async def test_a_stranger_cannot_fill_the_memory_with_a_form(visitor: Visitor) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000

    origin = {"Origin": "http://pace.example:8321"}
    answer = await visitor.http.post("/sign-in", content=endless(), headers=origin)
    assert answer.status_code == 413
    assert "too long" in answer.text
