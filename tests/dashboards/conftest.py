"""Pages two ways: over HTTP beside an API with a scripted worker, and in a real browser over one started stack."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from dashboards.main import compose
from service.client import Client
from service.settings import Settings
from tests.e2e.conftest import images, long, quick, undisturbed  # noqa: F401
from tests.service.api import Api
from tests.service.conftest import (  # noqa: F401
    api,
    app,
    base_url,
    catalogue,
    database,
    http,
    keys,
    migrated,
    postgres_url,
    settings,
)
from tests.stack import Stack

ELSEWHERE = "gpu-box.example"
"""A name of this machine that is not `localhost`, as others on the network know it by."""


@dataclass
class Visitor:
    """Somebody who opens pages without a browser: it shows what the server says, header by header."""

    http: httpx2.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(path, headers=headers)

    async def post(self, path: str, fields: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
        """Sends a form as a browser on one of our pages does, unless `headers` say otherwise."""
        sent = {"Origin": str(self.http.base_url).rstrip("/"), **headers}
        return await self.http.post(
            path, data=fields or {}, headers={name: value for name, value in sent.items() if value}
        )

    async def sign_in(self, key: str) -> None:
        answer = await self.post("/sign-in", {"key": key})
        assert answer.status_code == 303, answer.text

    async def token(self) -> str:
        """The token of the pages, out of one of them."""
        page = (await self.get("/")).text
        return page.partition('name="csrf" value="')[2].partition('"')[0]


@pytest_asyncio.fixture
async def visitor(app: FastAPI, settings: Settings, api: Api) -> AsyncIterator[Visitor]:  # noqa: F811
    """Signed out, before the pages over the API of the tests of the service."""
    transport = httpx2.ASGITransport(compose(app, settings))
    async with httpx2.AsyncClient(transport=transport, base_url="http://pace.example:8321") as client:
        yield Visitor(client)


@pytest_asyncio.fixture
async def member(visitor: Visitor, api: Api) -> Visitor:  # noqa: F811
    """Signed in as a user."""
    await visitor.sign_in(api.keys.user)
    return visitor


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A browser whose complaints are kept."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list[str])

    def page(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        return page

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "GL Driver Message" not in text:  # the browser's own, where it has no GPU
            self.complaints.append(text)

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # left for another page
            self.complaints.append(f"{request.url}: {request.failure}")


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Watched]:
    """A browser in which nobody has signed in. Nothing may be said on its console."""
    watched = Watched(browser.new_context())
    watched.context.set_default_timeout(20_000)
    yield watched
    watched.context.close()
    assert watched.complaints == []


@pytest.fixture
def page(stranger: Watched, stack: Stack) -> Page:
    """A page of somebody who has opened a user's link."""
    return _signed_in(stranger, stack, stack.client)


@pytest.fixture
def admin_page(stranger: Watched, stack: Stack) -> Page:
    """A page of somebody who has opened an admin's link, such as `pace up` prints."""
    with Client(stack.url, stack.folder.read_keys()["admin"]) as client:
        return _signed_in(stranger, stack, client)


def _signed_in(browser: Watched, stack: Stack, client: Client) -> Page:
    page = browser.page()
    page.goto(f"{stack.url}/sign-in/link?link={client.sessions.link().secret}")
    assert page.url == f"{stack.url}/"
    return page
