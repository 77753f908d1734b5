"""Studies: the list, and one with what it found out."""

import json
import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.sync_api import Page, expect

from service.client import StudyRequest
from tests.dashboards.conftest import Visitor
from tests.dashboards.test_overview import EVIL, text_of
from tests.service.api import Api
from tests.service.studies import driver, finish, rung, say, submitted
from tests.stack import Stack


@pytest_asyncio.fixture
async def study(api: Api) -> dict[str, Any]:
    """Searched: a grid of two by two, of which one failed."""
    study = await submitted(api, seeds=[], name=EVIL)
    lease = await driver(api)
    assert lease is not None
    for sigma, value in ((0.1, 0.5), (0.5, 0.7)):
        for weight in (0.02, 0.1):
            config = {"regularizer.sigma": sigma, "regularizer.lambda": weight}
            await rung(api, lease, config)
            if (sigma, weight) == (0.1, 0.02):
                await api.end(*await api.take(), "nan", message=f"became NaN {EVIL}")
            else:
                await finish(api, value + weight)
            await rung(api, lease, config)
    await say(api, lease, "end", importance={"regularizer.sigma": 0.9, "regularizer.lambda": 0.1})
    return study


def drawn(page: str, id: str) -> dict[str, Any]:
    """The drawing of that id."""
    (source,) = re.findall(rf'id="{id}".*?<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(source)


async def test_a_study_says_what_it_found_out(member: Visitor, api: Api, study: dict[str, Any]) -> None:
    page = (await member.get(f"/studies/{study['id']}")).text
    text = text_of(page)
    assert "Best so far: trial 3, val/accuracy 0.8" in text
    assert "regularizer.sigma = 0.5" in text
    assert "1 failed" in text
    assert EVIL not in page
    map = drawn(page, "map")["data"][0]
    assert (map["type"], map["x"], map["y"]) == ("heatmap", ["0.1", "0.5"], ["0.02", "0.1"])
    assert map["z"] == [[None, pytest.approx(0.72)], [pytest.approx(0.6), pytest.approx(0.8)]]
    assert drawn(page, "importance")["data"][0]["y"] == ["regularizer.lambda", "regularizer.sigma"]
    parallel = drawn(page, "parallel")["data"][0]
    assert [each["label"] for each in parallel["dimensions"]] == [
        "regularizer.lambda",
        "regularizer.sigma",
        "val/accuracy",
    ]
    report = await api.get(f"/v1/studies/{study['id']}/report")
    for trial in report["trials"]:
        for each in trial["rungs"]:
            assert f'href="/jobs/{each["job"]}"' in page
    numbers = re.findall(r'<tr>\s*<td class="number">(\d)</td>', page)
    assert numbers == ["3", "2", "1", "0"], "the best first, the failed last"


async def test_a_study_that_has_just_begun_says_so_and_looks_again(member: Visitor, api: Api) -> None:
    study = await submitted(api)
    page = (await member.get(f"/studies/{study['id']}")).text
    assert "No trial has begun." in page
    assert "Drawings appear when the first trial has a value." in page
    assert 'hx-trigger="every 10s"' in page
    part = (await member.get(f"/studies/{study['id']}", **{"HX-Request": "true"})).text
    assert "<html" not in part
    assert "Change it" not in part, "what is typed there stays"


async def test_the_list_is_narrowed(member: Visitor, api: Api, study: dict[str, Any]) -> None:
    other = await submitted(api, name="second look")
    page = (await member.get("/studies")).text
    assert f"/studies/{study['id']}" in page
    assert EVIL not in page
    page = (await member.get("/studies?search=second&ended=false")).text
    assert f"/studies/{other['id']}" in page
    assert f"/studies/{study['id']}" not in page
    assert "No study is like this." in (await member.get("/studies?row=nothing")).text
    assert (await member.get("/studies?ended=perhaps")).status_code == 200


async def test_without_any_it_says_what_one_is(member: Visitor) -> None:
    assert "A study searches over a job" in (await member.get("/studies")).text


async def test_it_is_paused_resumed_and_cancelled(member: Visitor, api: Api) -> None:
    study = await submitted(api)
    csrf = await member.token()
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = await member.post(f"/studies/{study['id']}/{verb}", {"csrf": csrf})
        assert answer.headers["location"] == f"/studies/{study['id']}"
        assert (await api.get(f"/v1/studies/{study['id']}"))["state"] == state
    assert (await member.post(f"/studies/{study['id']}/set_tracking", {"csrf": csrf})).status_code == 404


async def test_it_searches_more(member: Visitor, api: Api) -> None:
    space = {"regularizer.sigma": {"uniform": [0.1, 0.5]}}
    study = await submitted(api, space=space, search="random", trials=3)
    fields = {"csrf": await member.token(), "trials": "2", "epochs": "1000", "space": ""}
    assert (await member.post(f"/studies/{study['id']}/extend", fields)).status_code == 303
    found = await api.get(f"/v1/studies/{study['id']}")
    assert (found["trials"], found["request"]["budget"]) == (5, {"epochs": 1000, "hours": None})


@pytest.mark.parametrize(
    "fields",
    [{}, {"trials": "many"}, {"trials": "-1"}, {"trials": "2", "space": "{"}, {"space": "[]"}, {"space": "[" * 50_000},
     {"space": '{"regularizer.sigma": {"uniform": [2, 1]}}'}, {"hours": "nan"}, {"space": '{"nowhere.at": [1]}'}],
)  # fmt: skip
async def test_more_that_cannot_be_searched_is_refused_and_what_was_typed_stays(
    member: Visitor, api: Api, fields: dict[str, str]
) -> None:
    study = await submitted(api)
    answer = await member.post(f"/studies/{study['id']}/extend", {"csrf": await member.token(), **fields})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    if "trials" in fields:
        assert f'name="trials" inputmode="numeric" value="{fields["trials"]}"' in answer.text


async def test_another_projects_study_is_none(member: Visitor, api: Api) -> None:
    await api.call("POST", "/v1/projects", json={"name": "other"})
    study = await submitted(api, project="other")
    csrf = await member.token()
    assert (await member.get(f"/studies/{study['id']}")).status_code == 404
    assert (await member.post(f"/studies/{study['id']}/cancel", {"csrf": csrf})).status_code == 404
    assert (await member.post(f"/studies/{study['id']}/extend", {"csrf": csrf, "trials": "1"})).status_code == 404


async def test_a_reader_sees_no_buttons(visitor: Visitor, api: Api, study: dict[str, Any]) -> None:
    await visitor.sign_in(api.keys.reader)
    page = (await visitor.get(f"/studies/{study['id']}")).text
    assert "it looks, and changes nothing" in page
    assert f"/studies/{study['id']}/cancel" not in page


@pytest.mark.browser
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_study_is_watched_as_it_runs(page: Page, stack: Stack, quick: dict[str, Any]) -> None:
    body = {"spec": quick, "space": {"optimizer.lr": [0.001, 0.01]}, "seeds": [], "name": "watched"}
    study = stack.client.studies.submit(StudyRequest.model_validate(body))
    page.goto(f"{stack.url}/studies/{study.id}")
    expect(page.get_by_text("No trial has begun.").or_(page.get_by_text("of 2 trials"))).not_to_have_count(0)
    expect(page.locator("#curves .main-svg").first).to_be_visible(timeout=240_000)
    expect(page.locator("#parallel .plot")).to_be_visible(timeout=240_000)
    expect(page.get_by_text("Best so far: trial")).to_be_visible()
