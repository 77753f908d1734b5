"""Whether a process is dead is said by the kernel, not by whoever believes to have killed it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker import process_lock
from worker.process_lock import StillHeld, hold, is_dead

_HOLDER = """
import signal, sys, time
from worker.process_lock import hold
signal.signal(signal.SIGTERM, signal.SIG_IGN)
hold(sys.argv[1], 0)
print("held", flush=True)
time.sleep(600)
"""
Holder = Callable[[str], subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(process_lock.tempfile, "tempdir", None)


@pytest.fixture
def holder() -> Iterator[Holder]:
    """Starts a process that holds the lock and ignores SIGTERM."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", _HOLDER, name], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_process_is_known_to_be_dead_once_it_was_killed_and_not_before(holder: Holder) -> None:
    process = holder("dispatcher")
    assert not is_dead("dispatcher")
    os.kill(process.pid, signal.SIGSTOP)
    assert not is_dead("dispatcher")
    process.kill()
    process.wait()
    assert is_dead("dispatcher")
    assert not is_dead("of another machine")


def test_an_actor_begins_only_when_the_one_before_it_is_dead(holder: Holder) -> None:
    process = holder("slot")
    os.kill(process.pid, signal.SIGSTOP)
    descriptor = hold("slot", patience_s=0.2)
    assert process.wait(10) == -signal.SIGKILL
    os.close(descriptor)


def test_a_lock_whose_holder_is_not_known_is_not_taken(holder: Holder, tmp_path: Path) -> None:
    process = holder("slot")
    (lock,) = (tmp_path / f"pace-locks-{os.getuid()}").iterdir()
    for said in (b"", b"0", b"1", b"-1", b"nonsense"):
        lock.write_bytes(said)
        with pytest.raises(StillHeld):
            hold("slot", patience_s=0.0)
        assert process.poll() is None


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"pace-locks-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StillHeld, match="TMPDIR"):
        hold("slot", patience_s=0.0)
