"""One started stack for all tests that need the whole: Postgres, Ray, MLflow, API, dispatcher, tracking."""

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from service.local import stack as local
from service.local.ports import free_port
from service.local.record import Folder
from tests.stack import Stack

# read when torch is loaded: a test's layers are too small for more, and threads that wait for each other cost the most
os.environ["OMP_NUM_THREADS"] = "1"


class _ByFile(LoadScopeScheduling):
    """Gives a core whole files, which set up once what they share, and all tests of the started stack."""

    def _split_scope(self, nodeid: str) -> str:
        return "the stack" if nodeid.startswith(("tests/e2e/", "tests/dashboards/")) else nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escapes file names that are not UTF-8 in what a test printed: they cannot be sent to the reporting process."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started as by `pace up --detach`, with two slots; stopped as by `pace down`."""
    folder = Folder(tmp_path_factory.mktemp("stack"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACE_SLOTS", "2")
        patch.setenv("PACE_DATA_ROOTS", str(tmp_path_factory.getbasetemp()))
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("user")))
        patch.setenv("PACE_PORT", str(free_port()))  # whatever stack may be starting here at the same time
        for name in ("PACE_DATABASE_URL", "PACE_RAY_ADDRESS", "MLFLOW_TRACKING_URI", "PACE_STORAGE"):
            patch.delenv(name, raising=False)
        try:
            local.start_detached(folder, within_s=300)
            started = Stack(folder)
            yield started
            started.close()
        finally:
            local.stop(folder)
