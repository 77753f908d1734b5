"""Where a link into MLflow lands, in a real browser over a real MLflow server."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Locator, Page, expect

from tests.dashboards.conftest import Watched
from tests.dashboards.mlflow_story import ROWS, SUITE, TASKS, tell

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_SOON_MS = 90_000
_ITS_OWN = re.compile("AG Grid: since|status of 404")
"""What MLflow's pages say on the console whatever they show: a library's warning, and that there are no users."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of an MLflow server with the runs of a suite and others."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [
        *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "files")),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            env=os.environ | quiet,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.5)
    pytest.fail(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def links(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the service keeps: suite or job → its link."""
    service = tell(MlflowClient(address), tmp_path_factory.mktemp("adapters"))
    return {of: link.replace("http://mlflow.test", address) for of, link in service.links.items()}


@pytest.fixture
def visitor(stranger: Watched) -> Iterator[Watched]:
    """Somebody who has closed MLflow's assistant, which opens at the first visit by the name of this machine alone."""
    stranger.context.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    yield stranger
    stranger.complaints[:] = [said for said in stranger.complaints if not _ITS_OWN.search(said)]


def opened(visitor: Watched, link: str) -> Page:
    page = visitor.page()
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.goto(link)
    return page


def _section(page: Page, name: str, charts: int) -> Locator:
    return page.get_by_role("figure").filter(has_text=re.compile(rf"{name}\s*\({charts}\)")).first


def test_the_link_of_a_suite_shows_its_runs_with_the_columns_that_matter(
    visitor: Watched, links: dict[str, str], tmp_path: Path
) -> None:
    page = opened(visitor, links[SUITE])
    expect(page.get_by_text(f"{len(ROWS) * len(TASKS)} matching runs")).to_be_visible(timeout=_SOON_MS)
    headers = page.get_by_role("columnheader")
    for column in ("pace.task", "pace.row", "pace.seed", "test/accuracy", "vs/PACE", "cost/minutes"):
        expect(headers.filter(has_text=column).first).to_be_visible()
    names = page.get_by_role("link", name=re.compile(r"^(cifar|dtd)\W"))
    expect(names).to_have_text([f"{task}/{row}/3" for task in TASKS for row in ROWS], use_inner_text=True)
    cells = page.get_by_role("gridcell")
    for shown in ("vtab-1k/cifar", "LoRA_mul+VPT_add", "0.74", "-0.05", "5.067"):
        expect(cells.get_by_text(shown, exact=True).first).to_be_visible()
    expect(page.get_by_text("Suite does PACE help")).to_be_visible()
    page.screenshot(path=tmp_path / "suite.png")


def test_its_charts_stand_in_sections(visitor: Watched, links: dict[str, str]) -> None:
    page = opened(visitor, links[SUITE].replace("=TABLE", "=CHART"))
    expect(_section(page, "Accuracy", 2)).to_be_visible(timeout=_SOON_MS)
    expect(_section(page, "Loss terms", 3)).to_be_visible()
    expect(_section(page, "Cost", 5)).to_be_attached()
    for chart in ("val/accuracy", "train/loss_classification", "train/loss_consistency"):
        expect(page.get_by_text(chart, exact=True).first).to_be_visible()


def test_it_opens_for_the_training_of_models(visitor: Watched, links: dict[str, str]) -> None:
    page = opened(visitor, links[SUITE])
    expect(page.get_by_role("link", name="Runs", exact=True)).to_be_visible(timeout=_SOON_MS)
    expect(page.get_by_role("link", name="Model registry")).to_be_visible()
    expect(page.get_by_role("link", name="Judges")).to_have_count(0)


def test_the_link_of_a_job_shows_its_run(visitor: Watched, links: dict[str, str]) -> None:
    page = opened(visitor, links["job_alone"])
    expect(page.get_by_text("cifar/PACE/3").first).to_be_visible(timeout=_SOON_MS)
    expect(page.get_by_text("test/accuracy").first).to_be_visible()
