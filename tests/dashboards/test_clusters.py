"""Clusters: slots, what runs in them and why one takes nothing; and what an admin does about it."""

import pytest
from playwright.sync_api import Page, expect

from tests.dashboards.conftest import Visitor
from tests.dashboards.test_overview import EVIL, text_of
from tests.service.api import CPU, Api
from tests.stack import Stack

SLOTS = [
    {**CPU, "labels": {"gpu": "h100"}},
    {**CPU, "name": "cpu-1", "node": "n2", "trouble": f"its disk is full {EVIL}"},
]


async def test_an_admin_sees_slots_and_what_runs_there(visitor: Visitor, api: Api) -> None:
    job = await api.submit(name="mine")
    await api.lease(SLOTS[:1], all_slots=SLOTS)
    await visitor.sign_in(api.keys.admin)
    page = (await visitor.get("/clusters")).text
    text = text_of(page)
    assert "2 slots on 2 nodes" in text
    assert "gpu=h100" in text
    assert "8.6 GB" in text
    assert f'href="/jobs/{job}"' in page
    assert "its disk is full" in text
    assert EVIL not in page


async def test_drained_it_says_why_and_who_and_undrained_no_more(visitor: Visitor, api: Api) -> None:
    await api.lease([CPU])
    await visitor.sign_in(api.keys.admin)
    csrf = await visitor.token()
    fields = {"csrf": csrf, "place": "slot:cpu-0", "reason": "new <b>fan</b>"}
    answer = await visitor.post("/clusters/local/drain", fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/clusters")
    assert "drained : new &lt;b&gt;fan&lt;/b&gt; by" in text_of((await visitor.get("/clusters")).text)
    part = (await visitor.get("/clusters", **{"HX-Request": "true"})).text
    assert "drained" in part
    assert "<html" not in part
    await visitor.post("/clusters/local/undrain", {"csrf": csrf, "place": "slot:cpu-0"})
    assert "fan" not in (await visitor.get("/clusters")).text


@pytest.mark.parametrize(
    ("path", "fields", "status", "said"),
    [
        ("/clusters/local/forget", {}, 409, "end its dispatcher first"),
        ("/clusters/nowhere/drain", {}, 404, "there is no cluster"),
        ("/clusters/local/drain", {"place": f"node:{EVIL}"}, 404, "has no slot"),
        ("/clusters/local/drain", {"reason": "x" * 5_000}, 422, "at most 500"),
        ("/clusters/local/drain", {"place": "slot:" + "x" * 5_000}, 422, "at most 300"),
        ("/clusters/a%2Fb/drain", {}, 404, "There is no such page"),
    ],
)
async def test_what_cannot_be_done_is_said_on_the_page(
    visitor: Visitor, api: Api, path: str, fields: dict[str, str], status: int, said: str
) -> None:
    await api.lease([CPU])
    await visitor.sign_in(api.keys.admin)
    answer = await visitor.post(path, {"csrf": await visitor.token(), **fields})
    assert answer.status_code == status
    assert said in answer.text
    assert EVIL not in answer.text


async def test_a_cluster_that_is_gone_is_forgotten(visitor: Visitor, api: Api) -> None:
    await api.lease([CPU])
    await api.sql("UPDATE clusters SET seen_at = now() - interval '1 day'")
    await visitor.sign_in(api.keys.admin)
    assert "Forget local" in (await visitor.get("/clusters")).text
    await visitor.post("/clusters/local/forget", {"csrf": await visitor.token()})
    assert "No worker has connected yet." in (await visitor.get("/clusters")).text


async def test_others_see_how_busy_it_is_and_are_told_why_no_more(member: Visitor, api: Api) -> None:
    await api.submit()
    await api.take()
    page = (await member.get("/clusters")).text
    assert "1 of 1 slot busy" in text_of(page)
    assert "is for keys of role admin" in text_of(page)
    assert "/drain" not in page
    answer = await member.post("/clusters/local/drain", {"csrf": await member.token()})
    assert answer.status_code == 403


@pytest.mark.browser
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_drained_and_opened_again_with_the_keyboard_alone(admin_page: Page, stack: Stack) -> None:
    page = admin_page
    page.goto(f"{stack.url}/clusters")
    page.get_by_text("Drain…").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Takes no jobs: drained: by hand")).to_be_visible()
    page.get_by_text("Open again…").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Let it take jobs again").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Takes no jobs:")).to_have_count(0)
