"""Workers that are drained, doubled and killed: nothing runs on unseen, nothing is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.client import Client
from service.local import commands
from service.local.identity import alive
from tests.e2e.test_kills import in_mid_epoch
from tests.stack import History, Stack, kill, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture
def admin(stack: Stack) -> Client:
    keys = stack.folder.read_keys()
    assert keys is not None
    return Client(stack.url, keys["admin"])


def slots_of_actors(ray: int) -> list[int]:
    """Processes of this stack's actors that are alive."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            named = (process / "cmdline").read_bytes().startswith(b"ray::SlotActor")
            state = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if named and state[0] != "Z" and os.getsid(int(process.name)) == ray:
            found.append(int(process.name))
    return found


def test_a_drained_cluster_hands_its_job_on_at_a_checkpoint(
    stack: Stack, admin: Client, long: dict[str, Any], undisturbed: History
) -> None:
    job = stack.submit(long, name="drained")
    job.first(in_mid_epoch)
    admin.clusters.drain("local", now=True, reason="new disks")
    until(lambda: not any(slot.job for cluster in admin.clusters.list() for slot in cluster.slots), "nothing runs")
    assert (job.now().state, job.now().waiting_for) == (
        "queued",
        "a slot that takes jobs: drained: new disks; `pace workers` names all",
    )
    admin.clusters.undrain("local")
    history = job.ended()
    history.check_order()
    assert (history.job.state, history.job.attempt, history.job.failures) == ("succeeded", 2, 0)
    assert history.adapter_sha256 == undisturbed.adapter_sha256


def test_every_node_has_shown_that_it_reaches_the_storage(stack: Stack, admin: Client) -> None:
    (cluster,) = admin.clusters.list()
    assert [slot.trouble for slot in cluster.slots] == ["", ""]
    proofs = list((stack.folder.storage / "proofs").iterdir())
    assert len(proofs) == 1, "the question alone: copies go when they were looked at"


def test_a_second_dispatcher_is_refused_in_a_sentence(stack: Stack, quick: dict[str, Any], tmp_path: Path) -> None:
    keys = stack.folder.read_keys()
    record = stack.folder.read()
    assert keys is not None
    assert record is not None
    assert record.ray_address is not None
    environment = (
        os.environ
        | commands.worker_environment(stack.folder, stack.url, keys["worker"])
        | commands.ray_environment(stack.folder)
        | {"PACE_RAY_ADDRESS": record.ray_address}
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        second = subprocess.Popen(
            [sys.executable, "-m", "worker", "dispatch"], env=environment, stdout=output, stderr=output
        )
    try:
        until(lambda: "is served by another dispatcher" in log.read_text(), "it is told so")
        assert stack.submit(quick).ended().job.state == "succeeded"
        assert second.poll() is None, "it waits for its turn"
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0


@pytest.mark.slow
def test_after_kills_at_bad_moments_one_actor_is_left_in_each_slot(stack: Stack, quick: dict[str, Any]) -> None:
    ray = stack.process("ray")
    jobs = [stack.submit(quick | {"seed": seed}) for seed in range(4)]
    before = stack.process("dispatcher")
    kill(before)
    until(lambda: stack.process("dispatcher") != before and alive(stack.process("dispatcher")), "there is another one")
    for pid in slots_of_actors(ray.pid)[:1]:
        os.kill(pid, signal.SIGKILL)
    kill(stack.process("dispatcher"))
    assert {job.ended().job.state for job in jobs} == {"succeeded"}
    until(lambda: len(slots_of_actors(ray.pid)) == 2, "both slots have an actor")
