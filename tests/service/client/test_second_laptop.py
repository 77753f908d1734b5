"""Which service `pace` speaks to: the stack of this machine from any folder, or another machine's by file or by key."""

import asyncio
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from service.client.address import NoService, find_address, find_admin_key, find_stack, reached
from service.local import known
from service.local.identity import identify
from service.local.record import Folder, Record
from service.local.started_with import not_taken, settings_now
from service.settings import Settings
from tests.service.api import SPEC, Api
from tests.service.client.commands import Pace


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home folder and a working folder with nothing in them, and no service in the environment."""
    for name in ("PACE_URL", "PACE_API_KEY", "PACE_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[list[Folder]]:
    """Two state folders whose stacks run, as far as one can see from outside: their locks are held."""
    with ExitStack() as held:
        found: list[Folder] = []
        for number in (1, 2):
            folder = Folder(tmp_path / f"stack{number}" / ".state")
            folder.make()
            said = {"url": f"http://127.0.0.1:{number}", "key": f"key{number}"}
            folder.client.write_text(json.dumps(said))
            folder.keys.write_text(json.dumps({"admin": f"admin{number}"}))
            lock = held.enter_context((folder.path / "lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            me = identify(os.getpid())
            assert me
            folder.write(Record(supervisor=me, started_at=datetime.now(UTC), url=said["url"], settings=settings_now()))
            found.append(folder)
        yield found


def test_the_stack_that_runs_is_found_from_any_folder(home: Path, stacks: list[Folder]) -> None:
    with pytest.raises(NoService, match="pace connect FILE"):
        find_address()
    known.remember(stacks[0])
    assert (find_address().url, find_address().key, find_stack().path) == ("http://127.0.0.1:1", "key1", stacks[0].path)
    assert find_admin_key() == "admin1"
    (stacks[0].path / "lock").unlink()  # it runs no more
    with pytest.raises(NoService):
        find_address()


def test_of_several_stacks_one_must_be_named(home: Path, stacks: list[Folder], monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in stacks:
        known.remember(folder)
    with pytest.raises(NoService, match=r"2 stacks run on this machine; name one of them: PACE_STATE_DIR=.*stack"):
        find_address()
    monkeypatch.setenv("PACE_STATE_DIR", str(stacks[1].path))
    assert find_address().key == "key2"
    monkeypatch.delenv("PACE_STATE_DIR")
    monkeypatch.chdir(stacks[0].path.parent)
    assert find_address().key == "key1", "the stack of the folder that one is in"


def test_a_stored_key_goes_to_no_other_service(
    home: Path, stacks: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    known.remember(stacks[0])
    monkeypatch.setenv("PACE_URL", "http://somewhere.test:8321")
    with pytest.raises(NoService, match=r"no API key for http://somewhere\.test:8321"):
        find_address()
    assert find_admin_key() is None


def test_what_the_running_stack_does_not_take_is_named(
    home: Path, stacks: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = stacks[0].read()
    assert record
    assert not_taken(record.settings) == []
    monkeypatch.setenv("PACE_SLOTS", "7")
    monkeypatch.setenv("PACE_DATABASE_URL", "postgresql://secret@host/db")
    assert not_taken(record.settings) == ["PACE_DATABASE_URL", "PACE_SLOTS=7"]


@pytest.mark.parametrize("url", ["http://[bad", "ftp://host", "http://", "host:8321", "http://host:999999"])
def test_an_address_that_is_none_is_told(home: Path, url: str) -> None:
    with pytest.raises(NoService, match="is not the address of a service"):
        find_address(url, "pace_1")


@pytest.mark.parametrize("key", ["schlüssel", "two words", "two\nlines"])
def test_a_damaged_key_is_told(home: Path, key: str) -> None:
    with pytest.raises(NoService, match="is damaged"):
        find_address("http://127.0.0.1:9", key)
    assert find_address("http://127.0.0.1:9", "pace_1\n").key == "pace_1", "as a file or a variable ends"


async def test_up_on_a_running_stack_says_so(
    nowhere: Pace, stacks: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACE_STATE_DIR", str(stacks[0].path))
    monkeypatch.delenv("PACE_HOST", raising=False)
    try:
        said = await nowhere("up", "--detach", "--host", "0.0.0.0")
    finally:
        os.environ.pop("PACE_HOST", None)
    assert "the running stack ignores PACE_HOST=0.0.0.0; run `pace down`, then `pace up`" in " ".join(said.out.split())


def test_links_lead_to_the_machine_by_the_name_that_was_used() -> None:
    link = "http://127.0.0.1:8322/#/experiments/1/runs/a?x=y"
    assert reached(link, "http://gpu-box.test:8321") == "http://gpu-box.test:8322/#/experiments/1/runs/a?x=y"
    assert reached(link, "http://[fe80::1]:8321") == "http://[fe80::1]:8322/#/experiments/1/runs/a?x=y"
    assert reached(link, "http://localhost:9") == link
    assert reached("https://mlflow.test/#/a", "http://gpu-box.test") == "https://mlflow.test/#/a"
    assert reached(None, "http://gpu-box.test") is None


@pytest.mark.parametrize("shared", [True, False])
async def test_a_link_is_one_that_works_from_here_or_says_where_it_does(
    pace: Pace,
    api: Api,
    app: FastAPI,
    base_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
) -> None:
    """gpu-box.test is this machine by another name."""
    asked = socket.getaddrinfo

    def found(host: str | None, *arguments: Any, **more: Any) -> Any:
        return asked("127.0.0.1" if host in ("gpu-box.test", b"gpu-box.test") else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setenv("NO_PROXY", "gpu-box.test")
    monkeypatch.setenv("PACE_URL", base_url.replace("127.0.0.1", "gpu-box.test"))
    job = await api.submit()
    await api.call(
        "PUT", f"/v1/jobs/{job}/tracking", json={"url": "http://127.0.0.1:8322/#/runs/a"}, key=api.keys.tracking
    )
    app.state.settings = settings.model_copy(update={"share_mlflow": shared})
    try:
        said = await pace("show", job)
    finally:
        app.state.settings = settings
    assert said.code == 0, said.err
    link = "http://gpu-box.test:8322/#/runs/a" if shared else "http://127.0.0.1:8322/#/runs/a"
    (line,) = [line for line in said.out.splitlines() if line.strip().startswith("MLflow")]
    assert link in line
    assert ("open it on the service's machine, or through a tunnel" in line) == (not shared)


async def test_a_teammate_connects_by_one_file_and_submits(pace: Pace, api: Api, base_url: str, tmp_path: Path) -> None:
    file = tmp_path / "grace.json"
    made = await pace("key", "create", "grace", "--save", file)
    assert made.code == 0, made.err
    assert "pace connect grace.json" in made.out
    said = json.loads(file.read_text())
    assert (said["url"], set(said)) == (base_url, {"url", "key"})
    assert said["key"] not in made.out
    assert (file.stat().st_mode & 0o777) == 0o600
    assert "is there already" in (await pace("key", "create", "eve", "--save", file)).told

    await api.submit(name="ada's, in the same project")
    # a process of its own that has nothing but a home folder and the file
    script = (
        "import sys\nfrom service.client.cli import main\n"
        "for arguments in (['connect', 'grace.json'], ['submit', 'spec.json', '--name', 'hers'], ['jobs']):\n"
        "    sys.argv = ['pace', *arguments]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, (arguments, end.code)\n"
    )
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    own = {"HOME": str(tmp_path / "her home"), "PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd()}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        env=own,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (job,) = (await api.get("/v1/jobs?owner=grace"))["data"]
    assert (job["name"], job["owner"]) == ("hers", "grace")
    assert "grace" in next(line for line in done.stdout.splitlines() if line.startswith(f" {job['id']}"))
    kept = tmp_path / "her home" / ".local/state/pace/client.json"
    assert (kept.stat().st_mode & 0o777) == 0o600

    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(said | {"key": "pace_wrong"}))
    assert "unknown" in (await pace("connect", wrong)).told
    wrong.write_text("[1]")
    assert "holds no address and key" in (await pace("connect", wrong)).told
    assert not (tmp_path / "user").exists(), "nothing of it is kept"
