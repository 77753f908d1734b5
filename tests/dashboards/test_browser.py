"""What people do, in a real browser over one started stack. A warning on the console of any page is a failure."""

import re
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.dashboards.conftest import ELSEWHERE, Watched
from tests.stack import History, Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(600)]

_SOON_MS = 60_000


def open_as_user(watched: Watched, stack: Stack, path: str, host: str = "127.0.0.1") -> Page:
    page = watched.page()
    link = stack.client.sessions.link().secret
    page.goto(f"{stack.url.replace('127.0.0.1', host)}/sign-in/link?link={link}&next={path}")
    return page


def test_a_running_job_is_watched_to_its_end(stranger: Watched, stack: Stack, long: dict[str, Any]) -> None:
    job = stack.submit(long, name="watched")
    page = open_as_user(stranger, stack, f"/jobs/{job.id}")
    page.evaluate("window.same = true")
    expect(page.locator("#head .state")).to_have_text("running", timeout=_SOON_MS)
    expect(page.locator("#head progress")).to_be_visible(timeout=_SOON_MS)
    expect(page.locator("#head .state")).to_have_text("succeeded", timeout=_SOON_MS)
    result = job.now().result
    assert result is not None
    expect(page.locator("#head .big").first).to_have_text(f"{100 * result.metrics[0].value:.2f}")
    expect(page.get_by_role("link", name="Adapter", exact=True)).to_be_visible(timeout=_SOON_MS)
    drawn = page.locator("figure.chart .plot").first
    until(lambda: drawn.evaluate("plot => plot.data[0].y.length") == 3, "three epochs are drawn")
    measured = stack.client.jobs.metrics(job.id)["train/loss"]
    assert drawn.evaluate("plot => plot.data[0].y") == pytest.approx([point.value for point in measured])
    assert page.evaluate("window.same"), "it was never loaded anew"


def test_a_log_is_followed(stranger: Watched, stack: Stack, long: dict[str, Any]) -> None:
    job = stack.submit(long, name="logged")
    page = open_as_user(stranger, stack, f"/jobs/{job.id}")
    job.ended()
    expect(page.get_by_role("log")).to_contain_text("succeeded", timeout=_SOON_MS)
    said = [line.message for line in stack.client.jobs.logs(job.id)]
    shown = [text.partition(" ")[2].strip() for text in page.locator(".log div").all_inner_texts()]
    assert shown == said, "every line once, in order"
    assert page.locator(".log").evaluate("log => log.scrollTop + log.clientHeight >= log.scrollHeight - 8")


def test_jobs_are_found_and_acted_on_by_keyboard(stranger: Watched, stack: Stack, quick: dict[str, Any]) -> None:
    jobs = [stack.submit({**quick, "resources": {"requires": {"no": "such"}}}, name=f"keyboard {n}") for n in range(2)]
    page = open_as_user(stranger, stack, "/jobs")
    page.get_by_label("Words").fill("keyboard")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page).to_have_url(re.compile("search=keyboard"))
    page.get_by_label("Choose all of this page").focus()
    page.keyboard.press("Space")
    expect(page.locator("#chosen")).to_have_text("2 chosen")
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("2 of 2: cancel done.")
    assert [job.now().state for job in jobs] == ["cancelled", "cancelled"]
    page.get_by_label("Choose all of this page").check()
    page.get_by_role("button", name="Side by side").click()
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    expect(page.get_by_text("They were asked for alike.")).to_be_visible()


def test_a_leaderboard_shows_what_the_api_says(stranger: Watched, stack: Stack, undisturbed: History) -> None:
    page = open_as_user(stranger, stack, "/leaderboards/colours")
    board = stack.client.leaderboard("colours")
    assert board.rows
    for row in board.rows:
        for task, cell in row.cells.items():
            shown = page.locator(f'tr[data-row="{row.label}"] td[data-task="{task}"]')
            if cell.mean is not None:
                expect(shown.get_by_role("link").first).to_have_text(f"{100 * cell.mean:.1f}")
    page.get_by_role("link", name=re.compile(r"^\d+\.\d$")).first.click()
    expect(page).to_have_url(re.compile("/jobs"))
    expect(page.locator("tbody tr").first).to_be_visible()


def test_mlflow_is_there_by_any_name_of_the_machine(stranger: Watched, stack: Stack, undisturbed: History) -> None:
    job = undisturbed.job.id
    link = until(lambda: stack.client.jobs.get(job).mlflow_url, "MLflow has the job")
    page = open_as_user(stranger, stack, f"/jobs/{job}", ELSEWHERE)
    page.get_by_role("link", name="In MLflow").click()
    expect(page).to_have_url(re.compile(rf"http://{ELSEWHERE}:\d+/mlflow/#"))
    expect(page.get_by_text("test/accuracy").first).to_be_visible(timeout=_SOON_MS)
    runs = re.sub(r"/runs/.*", "?workflowType=machine_learning", link.partition("#")[2])
    page.goto(f"{stack.url.replace('127.0.0.1', ELSEWHERE)}/mlflow/#{runs}")
    expect(page.get_by_role("link", name="undisturbed").first).to_be_visible(timeout=_SOON_MS)
    stranger.complaints.clear()  # MLflow's own pages say much on the console


def test_mlflow_opens_on_runs_with_its_assistant_closed(page: Page, stack: Stack, stranger: Watched) -> None:
    page.goto(f"{stack.url}/mlflow/")
    expect(page.get_by_role("link", name="Model registry")).to_be_visible(timeout=_SOON_MS)
    expect(page.get_by_role("link", name="Prompts")).to_have_count(0)  # which its mode for chats has
    expect(page.get_by_text(re.compile("ask .*assistant|how can i help", re.IGNORECASE))).to_have_count(0)
    stranger.complaints.clear()


def test_mlflow_asks_strangers_to_sign_in(stack: Stack) -> None:
    for path in ("/mlflow/", "/mlflow/ajax-api/2.0/mlflow/experiments/search", "/mlflow/static-files/manifest.json"):
        answer = httpx2.get(f"{stack.url}{path}")
        assert answer.headers["location"].startswith("/sign-in")
    assert httpx2.post(f"{stack.url}/mlflow/ajax-api/2.0/mlflow/runs/search", json={}).status_code == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out_of_a_page(stranger: Watched, stack: Stack, undisturbed: History, scheme: Any) -> None:
    page = stranger.page()
    page.emulate_media(color_scheme=scheme)
    job = undisturbed.job.id
    paths = ["/", "/jobs", f"/jobs/{job}", f"/compare?job={job}", "/leaderboards", "/leaderboards/vtab-1k", "/nowhere"]
    link = stack.client.sessions.link().secret
    found: dict[str, list[str]] = {}
    for path in ["/sign-in", f"/sign-in/link?link={link}", *paths]:
        page.goto(f"{stack.url}{path}")
        page.wait_for_load_state("networkidle") if "jobs/" in path else None
        faults = Axe().run(page).response["violations"]
        found[path] = [f"{fault['id']}: {fault['nodes'][0]['html'][:100]}" for fault in faults
                       if fault["impact"] in ("serious", "critical")]  # fmt: skip
    assert {path: faults for path, faults in found.items() if faults} == {}
    stranger.complaints[:] = [said for said in stranger.complaints if "404" not in said]  # /nowhere


def test_a_phone_reads_every_page(stranger: Watched, stack: Stack, undisturbed: History) -> None:
    page = open_as_user(stranger, stack, "/")
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", "/jobs", f"/jobs/{undisturbed.job.id}", "/leaderboards", "/leaderboards/vtab-1k"):
        page.goto(f"{stack.url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_theme_is_chosen_and_kept(stranger: Watched, stack: Stack) -> None:
    page = open_as_user(stranger, stack, "/")
    page.emulate_media(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate(background)
    assert dark != light
    page.goto(f"{stack.url}/jobs")
    assert page.evaluate(background) == dark
