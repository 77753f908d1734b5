"""Pictures of every page over a running service, light, dark and as a phone shows it, into docs/dashboards.

python -m tests.dashboards.screenshots
"""

import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from service.client import Client
from service.client.address import find_admin_key

FOLDER = Path(__file__).parents[2] / "docs" / "dashboards"
_WIDE = {"width": 1280, "height": 800}
_PHONE = {"width": 390, "height": 844}
_HIGHEST = 1600  # pixels; what is further down adds nothing
MODES: dict[str, dict[str, Any]] = {
    "light": {"viewport": _WIDE, "color_scheme": "light"},
    "dark": {"viewport": _WIDE, "color_scheme": "dark"},
    "phone": {"viewport": _PHONE, "color_scheme": "light", "is_mobile": True},
}


def main() -> None:
    """Writes the pictures and prints their sizes."""
    FOLDER.mkdir(exist_ok=True)
    with Client(key=find_admin_key()) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        pages = pages_of(client)
        for mode in MODES:
            link = client.sessions.link().secret
            _take(browser, f"{client.address.url}", link, mode, pages)


def pages_of(client: Client) -> dict[str, str]:
    """Returns the path of each page by its picture's name, over what the service has."""
    done = [job.id for job in client.jobs.page(state=["succeeded"], sort="best", limit=3).jobs]
    assert len(done) > 1, "there is nothing to show yet: run `make demo` first"
    running = client.jobs.page(state=["running"], limit=1).jobs
    pages = {
        "sign-in": "/sign-in",
        "overview": "/",
        "jobs": "/jobs",
        "job": f"/jobs/{done[0]}",
        "compare": f"/compare?job={done[0]}&job={done[1]}",
        "leaderboards": "/leaderboards",
        "leaderboard": "/leaderboards/vtab-mini",
        "leaderboard-vtab-1k": "/leaderboards/vtab-1k?sort=mean",
        "studies": "/studies",
        "theory": "/theory",
        "clusters": "/clusters",
        "keys": "/access/keys",
        "limits": "/access/limits",
        "audit": "/access/audit",
        "new-job": f"/new/job?from={done[0]}",
        "new-study": "/new/study",
        "new-suite": "/new/suite",
    }
    studies = client.studies.page(limit=1).data
    pages |= {"study": f"/studies/{studies[0].id}"} if studies else {}
    return pages | ({"job-running": f"/jobs/{running[0].id}"} if running else {})


def _take(browser: Browser, url: str, link: str, mode: str, pages: dict[str, str]) -> None:
    context = browser.new_context(**MODES[mode])
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(f"{url}/sign-in/link?link={link}")
    for name, path in pages.items():
        page.goto(f"{url}{path}")
        if page.locator("figure.chart").count():
            page.locator("figure.chart .plot svg").first.wait_for()
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        shot = shot.crop((0, 0, shot.width, min(shot.height, _HIGHEST)))
        file = FOLDER / f"{name}-{mode}.webp"
        shot.save(file, "WEBP", quality=70, method=6)
        print(f"{file.relative_to(FOLDER.parents[1])}  {file.stat().st_size:,} bytes")
    context.close()


if __name__ == "__main__":
    main()
