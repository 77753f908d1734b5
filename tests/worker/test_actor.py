"""What an actor does by itself when no dispatcher is heard of any more, and which data it says are there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ACTOR = """
import json, sys, threading, time
from types import ModuleType
from worker import actor

asked = []

class Outbox:
    empty = True
    last_seq = 0
    closed = False

class Attempt:
    def __init__(self, lease, *_):
        self.lease, self.outbox = lease, Outbox()
        self.outbox.empty = False

    def ask(self, directive):
        asked.append(directive)
        print(json.dumps({"asked": directive}), flush=True)
        self.outbox.empty = True  # the run has stopped at its checkpoint, and all of it is acknowledged

# in the place of what loads torch: this is about who asks, not about training
for name, content in (("worker.attempt", {"Attempt": Attempt}), ("worker.warm", {"warm_up": lambda device: None})):
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)

given = json.loads(sys.argv[1])
actor.UNSEEN_S, actor._WATCH_S = given["unseen_s"], 0.05
roots = {"data": given["roots"], "weights": [], "closed": []}
slot = actor.SlotActor("test-of-the-watch", given["slot"], "cpu", 1, roots, "")
if given["paths"]:
    print(json.dumps(slot.has(given["paths"])), flush=True)
if given["lease"]:
    slot.start(given["lease"])
print(json.dumps({"at work": slot.current()["job"]}), flush=True)
until = time.monotonic() + given["seen_for_s"]
while time.monotonic() < until:
    slot.current()
    time.sleep(0.05)
print(json.dumps({"seen": True}), flush=True)
time.sleep(60)
"""
LEASE = {
    "job": "job_1",
    "attempt": 1,
    "slot": "s",
    "token": "t",
    "spec": {},
    "folder": "f",
    "resume_from": [],
    "max_runtime_s": None,
}


def says(tmp_path: Path, **given: Any) -> tuple[list[dict[str, Any]], int]:
    """What the actor's process says until it ends by itself, and its exit code."""
    given = {
        "unseen_s": 0.3,
        "seen_for_s": 0.0,
        "lease": None,
        "slot": str(tmp_path),
        "roots": [],
        "paths": [],
        **given,
    }
    ran = subprocess.run(
        [sys.executable, "-c", ACTOR, json.dumps(given)], capture_output=True, text=True, timeout=150, check=False
    )
    assert ran.stderr == ""
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.returncode


def test_an_idle_actor_of_which_no_dispatcher_asks_any_more_ends(tmp_path: Path) -> None:
    assert says(tmp_path) == ([{"at work": None}, {"seen": True}], 0)


def test_a_run_of_which_no_dispatcher_asks_any_more_stops_at_a_checkpoint_and_then_the_actor_ends(
    tmp_path: Path,
) -> None:
    assert says(tmp_path, lease=LEASE) == ([{"at work": "job_1"}, {"seen": True}, {"asked": "pause"}], 0)


def test_whoever_asks_now_and_then_keeps_a_run_going(tmp_path: Path) -> None:
    said, _ = says(tmp_path, lease=LEASE, unseen_s=1.0, seen_for_s=2.5)
    assert said.index({"seen": True}) < said.index({"asked": "pause"})


def test_the_watch_waits_for_longer_than_a_lease_lasts() -> None:
    code = "from service.settings import Settings; from worker import actor; print(actor.UNSEEN_S > Settings().lease_s)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=150)
    assert ran.stdout == "True\n", ran.stderr


def test_data_are_there_that_lie_below_a_root_and_no_others(tmp_path: Path) -> None:
    inside, outside = tmp_path / "roots" / "images", tmp_path / "others"
    for folder in (inside, outside, tmp_path / "roots" / ".hidden"):
        folder.mkdir(parents=True)
    (tmp_path / "roots" / "link").symlink_to(outside)
    asked = {
        str(inside): True,
        str(tmp_path / "roots" / "missing"): False,
        str(tmp_path / "roots" / ".hidden"): False,
        str(tmp_path / "roots" / "link"): False,
        str(outside): False,
        "/proc/self/environ": False,
        "/nul\0": False,
        "/" + "x" * 4_000: False,
    }
    (has, *_), _ = says(tmp_path, roots=[str(tmp_path / "roots")], paths=list(asked))
    assert has == asked


def test_a_benchmark_is_there_where_this_machine_was_told_that_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "elsewhere" / "vtab"
    told.mkdir(parents=True)
    (tmp_path / "roots").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PACE_DATA", f"vtab-1k={told}:few-shot={tmp_path / 'gone'}")
    asked = {
        "benchmark:vtab-1k": True,
        "benchmark:few-shot": False,
        "benchmark:fgvc": False,
        "benchmark:": False,
        str(told): True,
        str(tmp_path): False,
    }
    (has, *_), _ = says(tmp_path, roots=[str(tmp_path / "roots")], paths=list(asked))
    assert has == asked, "and what the machine's owner names may be read, though it is below no root"
    monkeypatch.setenv("PACE_DATA", "what is this")
    (has, *_), _ = says(tmp_path, roots=[str(tmp_path / "roots")], paths=list(asked))
    assert not any(has.values())
