"""Kills what can be killed at random moments while jobs run, and checks that nothing is lost, doubled or skipped.

    python -m tests.chaos --seeds 20

One stack is started as by `pace up`: Postgres, API, Ray, dispatcher, MLflow, tracking. Each seed draws its own faults
(`kill -9`, or a stop of some seconds) and moments; the same seed draws the same ones again. Prints a line a seed; where
an invariant is broken it says which, and ends with 1.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from service.client import Client, NoService, ProblemError
from service.local import stack as local
from service.local.identity import Identity, alive, identify
from service.local.ports import free_port
from service.local.record import Folder
from tests.e2e.images import image_folder
from tests.stack import History, Stack, Watched, until

JOBS = 6
FAULTS = 6
PARTS = ("api", "dispatcher", "tracking", "mlflow")
KINDS = (
    *(f"kill {part}" for part in PARTS),
    "kill postgres",
    "kill actor",
    "kill actor",
    "stop api",
    "stop dispatcher",
)
WITHIN_S = 900.0


def main() -> int:
    """Runs the seeds."""
    given = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    given.add_argument("--seeds", type=int, default=20, help="how many")
    given.add_argument("--first", type=int, default=1, help="the first of them")
    arguments = given.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="pace-chaos-") as place:
        stack, spec = _start(Path(place))
        try:
            calm = _submit(stack, spec, "undisturbed", 0).ended()
            assert calm.job.state == "succeeded", calm.job.message
            print(
                "| seed | faults | jobs | attempts | events | seconds | broken |\n|---|---|---|---|---|---|---|",
                flush=True,
            )
            for seed in range(arguments.first, arguments.first + arguments.seeds):
                broken += not _seed(stack, spec, calm, seed)
        finally:
            stack.close()
            local.stop(stack.folder)
    return 1 if broken else 0


def _start(place: Path) -> tuple[Stack, dict[str, Any]]:
    images = image_folder(place / "colours", per_class=40)
    said = {"PACE_SLOTS": "2", "PACE_DATA_ROOTS": str(place), "XDG_STATE_HOME": str(place / "user")}
    os.environ |= said | {"PACE_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    for name in ("PACE_DATABASE_URL", "PACE_RAY_ADDRESS", "MLFLOW_TRACKING_URI", "PACE_STORAGE", "PACE_URL"):
        os.environ.pop(name, None)
    folder = Folder(place / "state")
    local.start_detached(folder, within_s=WITHIN_S)
    spec = {
        "task": {"name": "colours", "source": "image_folder", "path": str(images)},
        "backbone": {"name": "pace_vit_mini", "image_size": 32},
        "method": {"name": "lora_add", "rank": 4},
        "training": {"epochs": 2, "warmup_epochs": 0, "batch_size": 8, "checkpoint_every_steps": 4},
    }
    return Stack(folder), spec


@cache
def _admin(stack: Stack) -> Client:
    return Client(stack.url, stack.folder.read_keys()["admin"])


def _submit(stack: Stack, spec: dict[str, Any], name: str, seed: int) -> Watched:
    return _patiently(lambda: stack.submit(spec | {"seed": seed}, name=name, max_attempts=100))


def _patiently(call: Callable[[], Any]) -> Any:
    end = time.monotonic() + WITHIN_S
    while True:
        try:
            return call()
        except (NoService, ProblemError) as error:
            if time.monotonic() > end or (isinstance(error, ProblemError) and error.status < 500):
                raise
            time.sleep(0.2)


def _seed(stack: Stack, spec: dict[str, Any], calm: History, seed: int) -> bool:
    draw, began = random.Random(seed), time.monotonic()
    before = _patiently(lambda: _admin(stack).worker.cursor("mlflow"))
    # the first has the undisturbed one's seed, and must end with the same bits
    jobs = [_submit(stack, spec, f"chaos {seed}/{number}", number) for number in range(JOBS)]
    faults: list[str] = []
    while len(faults) < FAULTS and not all(_patiently(job.now).state.ended for job in jobs):
        time.sleep(draw.uniform(0.2, 4.0))
        faults.append(_fault(stack, jobs, draw.choice(KINDS), draw))
    histories = [_patiently(job.ended) for job in jobs]
    in_log, last = _check_log(stack, before, histories)
    trouble = [*_check(histories, calm), *in_log, *_check_mlflow(stack, histories, last)]
    attempts, events = (
        sum(values) for values in zip(*((h.job.attempt, len(h.events)) for h in histories), strict=True)
    )
    seconds = time.monotonic() - began
    print(
        f"| {seed} | {', '.join(faults)} | {len(jobs)} | {attempts} | {events} | {seconds:.0f} | "
        f"{'; '.join(trouble) or 'nothing'} |",
        flush=True,
    )
    return not trouble


def _fault(stack: Stack, jobs: list[Watched], kind: str, draw: random.Random) -> str:
    verb, part = kind.split()
    process = _process(stack, jobs, part)
    if process is None or not alive(process):
        return f"({kind}: none)"
    with suppress(ProcessLookupError):
        if verb == "kill":
            os.kill(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(draw.uniform(1.0, 6.0))
            os.kill(process.pid, signal.SIGCONT)
    return kind


def _process(stack: Stack, jobs: list[Watched], part: str) -> Identity | None:
    if part == "postgres":
        with suppress(OSError, ValueError):
            return identify(int((stack.folder.postgres / "postmaster.pid").read_text().splitlines()[0]))
        return None
    if part == "actor":
        for job in jobs:
            with suppress(NoService, ProblemError, AssertionError, ValueError):
                if job.now().state == "running":
                    said = list(stack.client.jobs.events(job.id, follow=False))
                    pids = [e.data["message"].partition("(pid ")[2].partition(",")[0] for e in said if e.type == "log"]
                    return identify(int([pid for pid in pids if pid][-1]))
        return None
    record = stack.folder.read()
    return record.parts[part].process if record else None


def _check(histories: list[History], calm: History) -> list[str]:
    trouble: list[str] = []
    for history in histories:
        try:
            history.check_order()
        except AssertionError as error:
            trouble.append(f"{history.job.id}: history {str(error).splitlines()[0] if str(error) else 'has a gap'}")
        if history.job.state != "succeeded" or history.job.result is None:
            trouble.append(f"{history.job.id}: {history.job.state} {history.job.reason}")
        elif history.job.seed == calm.job.seed and history.adapter_sha256 != calm.adapter_sha256:
            trouble.append(f"{history.job.id}: another adapter than undisturbed")
    return trouble


def _check_log(stack: Stack, after: int, histories: list[History]) -> tuple[list[str], int]:
    """The log of all jobs has each of their events once, in order, and no number is missing; and its last number."""
    seen, positions = {history.job.id: list[int]() for history in histories}, list[int]()
    wanted = sum(len(history.events) for history in histories)
    end = time.monotonic() + WITHIN_S
    position = after
    while sum(map(len, seen.values())) < wanted and time.monotonic() < end:
        for event in _page(stack, position):
            positions.append(event["position"])
            if event["job"] in seen:
                seen[event["job"]].append(event["number"])
        position = positions[-1] if positions else after
    trouble = [
        f"{history.job.id}: the log has {len(seen[history.job.id])} of its {len(history.events)} events"
        for history in histories
        if seen[history.job.id] != [event.number for event in history.events]
    ]
    if positions != list(range(after + 1, after + 1 + len(positions))):
        trouble.append("the log of all jobs has a gap")
    return trouble, position


def _page(stack: Stack, after: int) -> list[dict[str, Any]]:
    return _patiently(lambda: [event.model_dump() for event in _admin(stack).worker.events(after)])


def _check_mlflow(stack: Stack, histories: list[History], last: int) -> list[str]:
    """Each job is one finished run with the result's number."""
    until(lambda: _patiently(lambda: _admin(stack).worker.cursor("mlflow")) >= last, "MLflow has all", WITHIN_S)
    record = stack.folder.read()
    assert record is not None
    client = MlflowClient(record.mlflow_url)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    trouble: list[str] = []
    for history in histories:
        runs = client.search_runs(experiments, f"tags.`pace.job` = '{history.job.id}'")
        if [run.info.status for run in runs] != ["FINISHED"]:
            trouble.append(f"{history.job.id}: {len(runs)} runs in MLflow")
        elif history.job.result and runs[0].data.metrics.get("test/accuracy") != history.job.result.value("test"):
            trouble.append(f"{history.job.id}: another number in MLflow")
    return trouble


if __name__ == "__main__":
    sys.exit(main())
