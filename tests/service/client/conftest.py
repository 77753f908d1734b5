"""The command `pace`, with and without a service."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.service.api import Api
from tests.service.client.commands import Pace, run


@pytest.fixture
def quiet_api() -> Iterator[None]:
    """Keeps the API, which runs in this process too, out of what commands print."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pace:
    """`pace` where no service is known."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    for name in ("PACE_URL", "PACE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    return lambda *arguments: asyncio.to_thread(run, *arguments)


@pytest.fixture
def pace(nowhere: Pace, monkeypatch: pytest.MonkeyPatch, base_url: str, api: Api, quiet_api: None) -> Pace:
    monkeypatch.setenv("PACE_URL", base_url)
    monkeypatch.setenv("PACE_API_KEY", api.keys.admin)
    return nowhere
