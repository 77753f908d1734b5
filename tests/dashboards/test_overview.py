"""The first page, over jobs of a scripted worker."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.dashboards.conftest import ELSEWHERE, Visitor, Watched
from tests.service.api import SPEC, Api
from tests.stack import Stack

EVIL = "<script>alert(1)</script>"


def text_of(page: str) -> str:
    """What a reader sees of it, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("<main")[2]))


async def test_it_says_what_runs_what_waits_and_why_and_what_failed(member: Visitor, api: Api) -> None:
    done = await api.submit(seed=1)
    await api.finish(0.875)
    broken, attempt = await api.submit(seed=2), 1
    await api.take()
    await api.end(broken, attempt, "nan", message="the loss became NaN at step 80")
    runs = await api.submit(seed=3)
    await api.take()
    progress = {"epoch": 2, "epochs": 4, "step": 50, "steps": 100, "images_per_s": 10.0}
    await api.report(runs, 1, ("progress", progress))
    waits = await api.submit(seed=4, spec={**SPEC, "resources": {"requires": {"gpu": "h100"}}})

    page = (await member.get("/")).text
    text = text_of(page)
    assert "1 succeeded , 1 failed" in text
    assert "nan the loss became NaN at step 80" in text
    assert "87.5" in text
    assert 'value="0.500"' in page
    assert "epoch 2 of 4" in text
    assert "a slot labelled gpu=h100" in text
    assert "1 of 1 slot busy" in text
    for job in (done, broken, runs, waits):
        assert f"/jobs/{job}" in page


async def test_before_the_first_job_it_says_so(member: Visitor) -> None:
    text = text_of((await member.get("/")).text)
    for said in ("Nothing runs.", "Nothing waits.", "No job has succeeded yet.", "No worker has connected yet."):
        assert said in text


async def test_a_reader_sees_it_and_strangers_of_another_project_do_not(visitor: Visitor, api: Api) -> None:
    await api.call("POST", "/v1/projects", json={"name": "other"})
    answer = await api.call("POST", "/v1/jobs", json={"spec": SPEC, "project": "other", "name": "secret-plan"})
    await visitor.sign_in(api.keys.reader)
    assert answer.json()["id"] not in (await visitor.get("/")).text
    await visitor.sign_in(api.keys.admin)
    assert answer.json()["id"] in (await visitor.get("/")).text


async def test_names_are_text(member: Visitor, api: Api) -> None:
    await api.submit(name=EVIL, row=f"'\"{EVIL}", tags={EVIL: EVIL})
    await api.take()
    page = (await member.get("/")).text
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.browser
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_the_link_of_pace_up_signs_in_and_the_page_looks_again_by_itself(page: Page, stack: Stack, quick: dict) -> None:
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    job = stack.submit(quick, name="seen")
    expect(page.get_by_role("link", name="colours / linear").first).to_be_visible(timeout=60_000)
    job.ended()
    expect(page.get_by_role("region", name="Last results").get_by_text("seen")).to_be_visible(timeout=60_000)


@pytest.mark.browser
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_stranger_is_asked_for_a_key_by_any_name_of_the_machine(stranger: Watched, stack: Stack) -> None:
    page = stranger.page()
    page.goto(f"{stack.url.replace('127.0.0.1', ELSEWHERE)}/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.get_by_role("navigation").count() == 0
    page.get_by_label("Your key").fill(stack.folder.read_client()["key"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert page.url.endswith("/jobs")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
