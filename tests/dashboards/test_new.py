"""The forms of new jobs, studies and suites."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.dashboards.conftest import Visitor
from tests.dashboards.test_overview import EVIL, text_of
from tests.service.api import SPEC, Api
from tests.service.test_init_from import trained
from tests.stack import Stack

GOOD = {"/task/name": "vtab-mini/digits", "/method/name": "lora_add", "/method/rank": "4", "/name": "by form"}
HTMX = {"HX-Request": "true"}


async def sent(visitor: Visitor, path: str, **fields: str) -> Any:
    return await visitor.post(path, {"csrf": await visitor.token(), "once": "o-1", "again": "/new/job", **fields})


def fault(page: str, id: str) -> str:
    """What is said beside that field."""
    return re.findall(rf'<small class="bad" id="{id}-fault"[^>]*>([^<]*)<', page)[0]


async def test_every_method_regularizer_and_source_of_the_registry_is_in_the_form(member: Visitor, api: Api) -> None:
    page = (await member.get("/new/job")).text
    for kind in ("methods", "regularizers", "sources"):
        entries = (await api.get(f"/v1/catalogue/{kind}"))["data"]
        assert entries
        for entry in entries:
            assert f"<option>{entry['name']}</option>" in page


@pytest.mark.parametrize("section", ["method", "regularizer"])
async def test_what_is_chosen_brings_its_fields_and_their_descriptions(member: Visitor, api: Api, section: str) -> None:
    for entry in (await api.get(f"/v1/catalogue/{section}s"))["data"][:6]:
        page = (await member.get(f"/new/job?/{section}/name={entry['name']}")).text
        for field, schema in entry["params"].get("properties", {}).items():
            assert f'name="/{section}/{field}"' in page
            assert str(schema.get("description", ""))[:20].partition("'")[0].partition('"')[0] in page


async def test_a_job_is_submitted_and_one_lands_on_its_page(member: Visitor, api: Api) -> None:
    answer = await sent(member, "/new/job", **GOOD, **{"/seed": "3", "/tags": '{"sheet": "2"}', "/reuse": "true"})
    assert answer.status_code == 303, text_of(answer.text)
    job = await api.get(f"/v1/jobs/{answer.headers['location'].removeprefix('/jobs/')}")
    assert (job["name"], job["seed"], job["spec"]["method"]["rank"], job["tags"]) == ("by form", 3, 4, {"sheet": "2"})


async def test_sent_twice_it_is_one_job(member: Visitor, api: Api) -> None:
    first, second = await sent(member, "/new/job", **GOOD), await sent(member, "/new/job", **GOOD)
    assert first.headers["location"] == second.headers["location"]
    assert len((await api.get("/v1/jobs"))["data"]) == 1
    changed = await sent(member, "/new/job", **{**GOOD, "/name": "another"})
    assert changed.status_code == 422
    assert 'value="another"' in changed.text
    assert 'name="once" value="o-1"' not in changed.text


async def test_faults_stand_beside_their_fields_and_what_was_typed_stays(member: Visitor) -> None:
    wrong = {**GOOD, "/method/rank": "minus", "/optimizer/lr": "-1", "/training/epochs": "2.5", "/tags": "["}
    for path, status in (("/new/job/check", 200), ("/new/job", 422)):
        page = await sent(member, path, **wrong)
        assert page.status_code == status
    page = page.text
    assert 'value="minus"' in page
    assert fault(page, "f-tags")
    mended = (await sent(member, "/new/job/check", **{**wrong, "/tags": ""})).text
    for id in ("f-method-rank", "f-optimizer-lr", "f-training-epochs"):
        assert fault(mended, id), id
    assert fault(mended, "f-task-name") == ""
    assert "f-method-alpha-fault" not in mended, "only fields that the form has by now are spoken of"


async def test_before_submitting_it_says_what_it_takes(member: Visitor) -> None:
    text = text_of("<main" + (await sent(member, "/new/job/check", **GOOD)).text)
    assert "This can be submitted." in text
    assert "Memory" in text
    assert "It would wait for" in text


async def test_a_recipes_row_is_picked_and_overridden(member: Visitor, api: Api) -> None:
    pick = {"/recipe/name": "vtab-mini", "/recipe/row": "PACE", "/recipe/task": "digits"}
    page = (await sent(member, "/new/job/fields", **pick)).text
    assert "<option selected>PACE</option>" in page
    answer = await sent(member, "/new/job", **pick, **{"/regularizer/name": "pace", "/regularizer/sigma": "0.3"})
    job = await api.get(f"/v1{answer.headers['location']}")
    assert (job["row"], job["spec"]["regularizer"]["sigma"], job["spec"]["regularizer"]["lambda"]) == (
        "PACE",
        0.3,
        0.02,
    )


async def test_a_job_is_cloned_and_comes_out_the_same(member: Visitor, api: Api) -> None:
    source, _ = await trained(api)
    job = await api.submit(name="first", spec={**SPEC, "training": {"epochs": 7}, "init_from": source})
    page = (await member.get(f"/new?from={job}", **{})).headers["location"]
    page = (await member.get(page)).text
    typed = {
        name: value.replace("&#34;", '"') for name, value in re.findall(r'name="(/[^"]+)" value="([^"]+)"', page)
    } | dict(re.findall(r'name="(/[^"]+)"[^>]*>(?:\s*<option[^>]*>[^<]*</option>)*?\s*<option selected>([^<]*)<', page))
    answer = await sent(member, "/new/job", **typed)
    again = await api.get(f"/v1{answer.headers['location']}")
    assert again["spec"] == (await api.job(job))["spec"]
    assert again["spec"]["init_from"] == source


async def test_another_projects_job_is_not_cloned(member: Visitor, api: Api) -> None:
    await api.call("POST", "/v1/projects", json={"name": "other"})
    job = (await api.call("POST", "/v1/jobs", json={"spec": SPEC, "project": "other"})).json()["id"]
    assert (await member.get(f"/new/job?from={job}")).status_code == 404
    assert (await member.get(f"/new/job?from={EVIL}")).status_code in (404, 422)


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "x" * 5_000, "a\x00b", "\u202edrawkcab"])
async def test_a_strange_name_is_text_or_refused(member: Visitor, api: Api, name: str) -> None:
    answer = await sent(member, "/new/job", **{**GOOD, "/name": name})
    assert answer.status_code in (303, 422)
    if answer.status_code == 422:
        assert fault(answer.text, "f-name") or '<ul class="bad">' in answer.text
    assert "<img" not in answer.text


async def test_a_pasted_spec_fills_the_fields(member: Visitor) -> None:
    pasted = "task: {name: vtab-mini/digits}\nmethod: {name: lora_add, rank: 16}\n"
    page = (await sent(member, "/new/job/fields", pasted=pasted)).text
    assert 'name="/method/rank" value="16"' in page
    assert "This can be submitted." in page


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("method: {name: a}\nmethod: {name: b}", "appears twice"),
        ("- a\n- b", "no sections"),
        ("a: [", "not YAML"),
        ("[" * 50_000, "too deeply"),
    ],
)
async def test_a_pasted_spec_that_is_none_is_told_so(member: Visitor, pasted: str, said: str) -> None:
    page = (await sent(member, "/new/job/fields", pasted=pasted)).text
    assert said in page
    assert pasted[:10] in page


async def test_signed_out_in_the_middle_what_was_typed_comes_back(member: Visitor, api: Api) -> None:
    fields = {"csrf": await member.token(), "again": "/new/job", **GOOD}
    member.http.cookies.clear()
    answer = await member.post("/new/job", fields)
    assert answer.status_code == 303
    page = (await member.get(answer.headers["location"])).text
    (to,) = re.findall(r'name="next" value="([^"]+)"', page)
    back = await member.post("/sign-in", {"key": api.keys.user, "next": to.replace("&amp;", "&")})
    assert 'value="by form"' in (await member.get(back.headers["location"])).text
    member.http.cookies.clear()
    answer = await member.post("/new/job/check", fields, **HTMX)
    assert answer.headers["hx-redirect"].startswith("/sign-in?next=")
    evil = await member.post("/new/job", {**fields, "again": "//evil.example"})
    assert "evil" not in str(evil.headers)


async def test_a_study_is_planned_and_submitted(member: Visitor, api: Api) -> None:
    fields = {**GOOD, "/space": '{"method.rank": [2, 4]}', "/seeds": "0, 1"}
    fields.pop("/method/rank")
    text = text_of("<main" + (await sent(member, "/new/study/check", **fields)).text)
    assert "Trials 2" in text
    answer = await sent(member, "/new/study", **fields)
    study = await api.get(f"/v1{answer.headers['location']}")
    assert (study["trials"], study["request"]["seeds"]) == (2, [0, 1])


async def test_a_suite_is_planned_and_submitted(member: Visitor, api: Api) -> None:
    fields = {"/benchmark": "vtab-mini", "/tasks": "digits, textures", "/rows": "Linear, PACE", "/seeds": "0"}
    text = text_of("<main" + (await sent(member, "/new/suite/check", **fields)).text)
    assert "Runs 4" in text
    answer = await sent(member, "/new/suite", **fields, **{"/training/epochs": "1"})
    assert answer.headers["location"].startswith("/jobs?suite=suite_")
    jobs = (await api.get("/v1/jobs"))["data"]
    assert {job["spec"]["training"]["epochs"] for job in jobs} == {1}


async def test_a_reader_is_told_that_they_submit_nothing(visitor: Visitor, api: Api) -> None:
    await visitor.sign_in(api.keys.reader)
    assert "submit nothing" in (await visitor.get("/new/job")).text
    assert (await sent(visitor, "/new/job", **GOOD)).status_code == 403


async def test_there_is_no_form_of_anything_else(member: Visitor) -> None:
    assert (await member.get("/new/cluster")).status_code == 404


@pytest.mark.browser
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_job_is_made_with_the_keyboard_alone(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/new/job")
    page.locator("#f-task-name").focus()
    page.keyboard.type("vtab-mini/digits")
    page.locator("#f-method-name").focus()
    page.keyboard.type("lora_add")
    page.keyboard.press("Tab")
    page.locator("#f-method-rank").focus()
    page.keyboard.type("0")
    expect(page.locator("#f-method-rank-fault")).not_to_be_empty()
    page.keyboard.press("Backspace")
    page.keyboard.type("4")
    expect(page.get_by_text("This can be submitted.")).to_be_visible()
    expect(page.locator("#f-method-rank")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/job_*")
