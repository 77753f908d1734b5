"""Which processes are ended, and which never."""

import subprocess
import sys
import time
from pathlib import Path

from service.local.identity import Identity, alive, end_session, identify

# starts a child of its own, says its id, and ignores being asked to end
_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn=lambda: signal.signal(15, 1))
print(child.pid, flush=True)
time.sleep(60)
"""


def _started(code: str) -> tuple[subprocess.Popen[str], Identity, int]:
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    identity = identify(process.pid)
    assert identity is not None
    return process, identity, child


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while identify(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return identify(pid) is None


def test_a_process_is_known_by_its_start_too() -> None:
    process, identity, _ = _started("import time; print(0, flush=True); time.sleep(60)")
    assert alive(identity)
    assert not alive(identity.model_copy(update={"started": "another boot/1"}))
    process.kill()
    process.wait()
    assert not alive(identity)


def test_an_ended_process_that_nobody_has_waited_for_is_not_alive() -> None:
    process, identity, _ = _started("print(0, flush=True); input()")
    assert process.stdin is not None
    process.stdin.close()
    assert _gone(process.pid)
    assert not alive(identity)
    process.wait()


def test_all_that_a_part_started_ends_with_it() -> None:
    process, identity, child = _started(_STUBBORN)
    end_session(identity, patience_s=0.1)
    process.wait(5)
    assert _gone(child)


def test_what_outlives_its_leader_is_ended_too() -> None:
    process, identity, child = _started(_STUBBORN)
    process.kill()
    process.wait()
    assert identify(child) is not None
    end_session(identity, patience_s=0)
    assert _gone(child)


def test_a_stranger_who_got_the_id_is_left_alone() -> None:
    process, identity, child = _started(_STUBBORN)
    end_session(identity.model_copy(update={"started": "an earlier boot/1"}), patience_s=0)
    assert alive(identity)
    assert identify(child) is not None
    end_session(identity, patience_s=0)
    process.wait(5)


def test_the_boot_is_part_of_the_identity() -> None:
    if sys.platform == "linux":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        mine = identify(1)
        assert mine is not None
        assert mine.started.startswith(boot)
