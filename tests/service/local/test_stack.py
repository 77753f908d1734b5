"""`pace up`, `status` and `down` as a person runs them, once, on a folder of their own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import postgres
from service.client import Client, JobRequest
from service.local.identity import Identity, alive, end_session
from service.local.ports import free_port
from service.local.record import Folder, Part, Record
from tests.service.api import SPEC

pytestmark = pytest.mark.stack

WITHIN_S = 120
PACE = (sys.executable, "-c", "from service.client.cli import main; main()")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = Folder(tmp_path_factory.mktemp("stack") / "state")
    yield folder
    pace(folder, "down")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


def pace(
    folder: Folder, *arguments: str, port: int | None = None, elsewhere: bool = False
) -> subprocess.CompletedProcess[str]:
    said = environment(folder, port)
    if elsewhere:
        del said["PACE_STATE_DIR"]
    return subprocess.run([*PACE, *arguments], env=said, capture_output=True, text=True, check=False)


def environment(folder: Folder, port: int | None = None) -> dict[str, str]:
    said = {name: value for name, value in os.environ.items() if not name.startswith("PACE_")}
    said["XDG_STATE_HOME"] = str(folder.path.parent / "user")
    return said | {"PACE_STATE_DIR": str(folder.path)} | ({"PACE_PORT": str(port)} if port else {})


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def record(folder: Folder) -> Record:
    found = folder.read()
    assert found is not None
    return found


def part(folder: Folder, name: str) -> Part:
    return record(folder).parts.get(name, Part(log=""))


def process(folder: Folder, name: str) -> Identity:
    until(lambda: part(folder, name).process is not None, f"{name} runs")
    found = part(folder, name).process
    assert found is not None
    return found


def client(folder: Folder) -> Client:
    said = json.loads(folder.client.read_text())
    return Client(said["url"], said["key"])


def test_the_stack_takes_a_job_as_soon_as_up_returns(folder: Folder, port: int) -> None:
    up = pace(folder, "up", "--detach", "--host", "0.0.0.0", port=port)
    assert up.returncode == 0, up.stdout + up.stderr
    assert f"http://127.0.0.1:{port}/docs" in up.stdout
    for told in ("each with a key of its own", "travel in the clear", "MLflow asks for no key"):
        assert told in " ".join(up.stdout.split())
    assert str(folder.client) in up.stdout
    assert stat.S_IMODE(folder.client.stat().st_mode) == 0o600
    with client(folder) as own:
        assert own.jobs.submit(JobRequest(spec=SPEC)).state == "queued"


def test_up_again_says_that_it_runs(folder: Folder) -> None:
    supervisor = record(folder).supervisor
    again = pace(folder, "up", "--detach", "--host", "127.0.0.1")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "the stack runs already")
    assert "ignores PACE_HOST=127.0.0.1, PACE_" not in again.stdout, "the port is as it was"
    assert "the running stack ignores PACE_HOST=127.0.0.1" in again.stdout
    assert record(folder).supervisor == supervisor
    here = pace(folder, "up")
    assert here.returncode == 1
    assert "runs already" in here.stderr


def test_other_machines_are_let_in_with_a_key_and_told_what_that_means(folder: Folder, port: int) -> None:
    assert f"http://127.0.0.1:{port}" == json.loads(folder.client.read_text())["url"]
    with socket.create_connection(("127.0.0.2", port), timeout=5):  # any address of this machine
        pass
    file = folder.path.parent / "grace.json"
    made = pace(folder, "key", "create", "grace", "--save", str(file))
    assert made.returncode == 0, made.stderr
    assert json.loads(file.read_text())["url"].endswith(f":{port}")
    shown = pace(folder, "status", elsewhere=True)
    assert f"http://127.0.0.1:{port}/docs" in shown.stdout, "found from another folder, without a word"


def test_status_names_every_part(folder: Folder) -> None:
    until(lambda: "tracking" in record(folder).parts, "all parts are started")
    said = pace(folder, "status")
    assert said.returncode == 0, said.stderr
    for name in ("api", "ray", "dispatcher", "tracking", "mlflow", "postgres"):
        assert name in said.stdout


def test_an_api_that_died_is_started_again_where_it_was(folder: Folder) -> None:
    before = process(folder, "api")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: part(folder, "api").restarts == 1 and part(folder, "api").process is not None, "the API is back")
    jobs = pace(folder, "jobs")  # waits until it answers
    assert jobs.returncode == 0, jobs.stderr
    assert "queued" in jobs.stdout
    assert process(folder, "api") != before


def test_down_ends_all_of_it_though_the_supervisor_was_killed(folder: Folder) -> None:
    started = [process(folder, name) for name in ("api", "ray", "dispatcher", "mlflow", "tracking")]
    sessions = {one.pid for one in started}
    end_session(record(folder).supervisor, patience_s=0)
    assert any(alive(one) for one in started)
    assert pace(folder, "down").stdout == "stopped\n"
    until(lambda: not sessions & living_sessions(), "nothing of it runs")
    assert not postgres.running(folder.postgres)
    assert not folder.ray.exists()
    assert pace(folder, "down").stdout == f"no stack runs on {folder.path}\n"


def test_the_data_are_there_when_it_comes_up_again(folder: Folder, port: int) -> None:
    key = json.loads(folder.client.read_text())["key"]
    assert pace(folder, "up", "--detach", port=port).returncode == 0
    assert json.loads(folder.client.read_text())["key"] == key
    with client(folder) as own:
        assert [job.task for job in own.jobs.list()] == ["digits"]
    supervisor = record(folder).supervisor
    assert pace(folder, "down").returncode == 0
    assert not alive(supervisor)
    assert not postgres.running(folder.postgres)


def test_ctrl_c_ends_a_stack_in_the_foreground_with_all_of_it(folder: Folder, port: int) -> None:
    up = subprocess.Popen(
        [*PACE, "up"], env=environment(folder, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert up.stdout
    said = [next(up.stdout)]
    assert f"The service answers at http://127.0.0.1:{port}" in said[0]
    sessions = {process(folder, name).pid for name in ("api", "ray")} | {up.pid}
    up.send_signal(signal.SIGINT)
    rest, errors = up.communicate(timeout=WITHIN_S)
    assert (up.returncode, errors) == (130, "")
    assert rest.splitlines()[-2:] == [
        "stopping, which takes some seconds",
        "stopped; `pace up` goes on with all that is there",
    ]
    assert not sessions & living_sessions()
    assert not postgres.running(folder.postgres)
    assert not folder.ray.exists()


def living_sessions() -> set[int]:
    """The sessions of all processes that have not ended."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] not in "ZX":
                found.add(int(fields[3]))
    return found
