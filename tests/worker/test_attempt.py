"""How an attempt ends, whatever its run does. The run is a stand-in; the core's own tests hold the real one."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pace_core.spec import Directive, Interrupted, Provenance, Reporter, RunError, RunResult, validate
from pace_core.spec.leases import Lease
from tests.pace_core.data.writing import write_image
from worker.attempt import Attempt, newest_checkpoint

SPEC = {"task": {"name": "mine", "source": "image_folder"}, "method": {"name": "linear"}}
RESULT = RunResult(
    metrics=[],
    trainable_parameters=1,
    adapter_parameters=0,
    seconds=1,
    train_seconds=1,
    images_per_s=1,
    peak_memory_bytes=1,
    adapter=None,
    provenance=Provenance(
        code_version="",
        results_version=1,
        weights_hash="",
        data_hash="",
        precision="float32",
        device="cpu",
        cpu_features="",
        threads=1,
        libraries={},
    ),
)


def attempt(run: Callable[[Reporter], Any], max_runtime_s: float | None = None) -> Attempt:
    lease = Lease(
        job="job_1",
        attempt=1,
        slot="s",
        token="t",
        spec=SPEC,
        folder="memory://f",
        resume_from=[],
        max_runtime_s=max_runtime_s,
    )
    return Attempt(lease, "hello", "cpu", run=lambda spec, reporter, folder, resume_from: run(reporter))


def events_of(it: Attempt) -> list[dict[str, Any]]:
    it.join(30)
    return [{"type": event.type, **event.data} for event in it.outbox.take(0, 0)]


def raising(error: BaseException) -> Callable[[Reporter], Any]:
    def run(reporter: Reporter) -> Any:
        raise error

    return run


def test_a_run_that_finishes_ends_with_its_result() -> None:
    hello, end = events_of(attempt(lambda reporter: RESULT))
    assert hello == {"type": "log", "level": "info", "message": "hello"}
    assert end == {"type": "end", "reason": "succeeded", "message": "", "result": RESULT.model_dump(mode="json")}


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (RunError("data_corrupt", "a.png: not an image"), "data_corrupt", "a.png: not an image"),
        (OSError(errno.EACCES, "Permission denied"), "crashed", "PermissionError: [Errno 13] Permission denied"),
        (ValueError("seven"), "crashed", "ValueError: seven"),
    ],
)
def test_a_failure_ends_the_attempt_with_its_reason(error: BaseException, reason: str, message: str) -> None:
    end = events_of(attempt(raising(error)))[-1]
    assert end == {"type": "end", "reason": reason, "message": message, "result": None}


def test_a_crash_leaves_its_traceback_in_the_log() -> None:
    log = events_of(attempt(raising(ValueError("seven"))))[-2]
    assert log["level"] == "error"
    assert log["message"].startswith("Traceback")
    assert log["message"].endswith("ValueError: seven")


@pytest.mark.parametrize(("directive", "reason"), [("pause", "paused"), ("stop", "cancelled")])
def test_a_directive_reaches_the_run_and_names_the_end(directive: Any, reason: str) -> None:
    def run(reporter: Reporter) -> Any:
        while (said := reporter.directive()) == "continue":
            reporter.event("metrics", {"epoch": 1})
        raise Interrupted(said)

    it = attempt(run)
    it.ask(directive)
    assert events_of(it)[-1]["reason"] == reason


def test_a_run_is_stopped_when_its_time_is_used_up() -> None:
    def run(reporter: Reporter) -> Any:
        while reporter.directive() == "continue":
            pass
        raise Interrupted("stop")

    end = events_of(attempt(run, max_runtime_s=0.05))[-1]
    assert end["reason"] == "timed_out"
    assert "0.05 s" in end["message"]


def test_a_later_attempt_goes_on_from_the_newest_folder_that_has_a_checkpoint(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("3", "2", "1")]
    for folder in folders[1:]:
        folder.mkdir()
        (folder / "checkpoint.safetensors").write_bytes(b"")
    assert newest_checkpoint([str(folder) for folder in folders]) == str(folders[1])
    assert newest_checkpoint([folders[1].as_uri()]) == folders[1].as_uri()
    assert newest_checkpoint([str(folders[0])]) is None


def test_a_paused_job_whose_data_changed_meanwhile_ends_with_that_and_trains_no_further(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label, name in enumerate(("disc", "square")):
            for i in range(8):
                write_image(tmp_path / "data" / split / name / f"{i}.png", 100 * label + i + 20 * (split == "val"))
    spec = {
        "task": {"name": "mine", "source": "image_folder", "path": str(tmp_path / "data"), "phase": "search"},
        "backbone": {"name": "pace_vit_mini", "image_size": 16},
        "method": {"name": "linear"},
        "training": {"epochs": 2, "batch_size": 4},
    }

    def tried(number: int, directive: Directive) -> dict[str, Any]:
        folder, before = (str(tmp_path / "job" / str(n)) for n in (number, number - 1))
        lease = Lease(
            job="job_1",
            attempt=number,
            slot="s",
            token="t",
            spec=validate(spec).json_dict(),
            folder=folder,
            resume_from=[before],
            max_runtime_s=None,
        )
        it = Attempt(lease, "hello", "cpu")
        it.ask(directive)
        return events_of(it)[-1]

    assert tried(1, "pause")["reason"] == "paused"
    write_image(tmp_path / "data" / "train" / "disc" / "0.png", 250)
    end = tried(2, "continue")
    assert (end["reason"], end["result"]) == ("data_changed", None)
    assert "the classes are unchanged, but images, labels or splits differ" in end["message"]
    assert not (tmp_path / "job" / "2" / "adapter.safetensors").exists()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


HOSTILE = [
    RunError("data_corrupt", "Pl\udce4tze.png: not an image"),
    OSError(errno.ENOENT, "No such file or directory", "Pl\udce4tze.png"),
    ValueError(float("nan"), b"\xff", 10**400, "x" * 20_000_000),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    RecursionError("maximum recursion depth exceeded"),
    ExceptionGroup("several", [ValueError("\ud800")]),
    Mute(),
]


@pytest.mark.parametrize("error", HOSTILE, ids=lambda e: type(e).__name__)
def test_an_attempt_says_its_end_whatever_was_raised(error: BaseException) -> None:
    it = attempt(raising(error))
    it.join(30)
    for event in it.outbox.take(0, 0):
        sent = json.dumps(event.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()
        assert len(sent) < 100_000
    end = it.outbox.take(0, 0)[-1]
    assert (end.type, end.data["reason"]) == ("end", "data_corrupt" if isinstance(error, RunError) else "crashed")
    assert "Pl\udce4tze" not in end.data["message"]


def test_a_result_that_no_reader_takes_is_an_end_all_the_same() -> None:
    odd = RESULT.model_copy(update={"seconds": float("nan"), "architecture": {"Pl\udce4tze": 10**400}})
    end = events_of(attempt(lambda reporter: odd))[-1]
    assert (end["type"], end["reason"]) == ("end", "succeeded")
    json.dumps(end, allow_nan=False, ensure_ascii=False).encode()


def started_from(init_from: str | None) -> dict[str, Any]:
    """The end of an attempt whose spec starts from a job; the lease says where that job's adapter lies."""
    spec = SPEC | {"init_from": "job_0"}
    lease = Lease(
        job="job_1", attempt=1, slot="s", token="t", spec=spec, init_from=init_from, folder="memory://f",
        resume_from=[], max_runtime_s=None,
    )  # fmt: skip

    def run(spec: Any, reporter: Reporter, folder: str, resume_from: str | None) -> Any:
        raise RunError("weights_missing", str(spec.init_from))

    return events_of(Attempt(lease, "hello", "cpu", run=run))[-1]


def test_a_run_starts_from_the_file_that_the_lease_names_and_from_no_address_of_its_spec() -> None:
    assert started_from("memory://jobs/job_0/1/adapter")["message"] == "memory://jobs/job_0/1/adapter"
    assert started_from(None)["reason"] == "spec_invalid"


def test_a_run_gets_no_more_threads_than_its_slot_has_cores() -> None:
    def threads(asked: int) -> tuple[str, list[str]]:
        lease = Lease(
            job="job_1", attempt=1, slot="s", token="t", spec=SPEC | {"resources": {"threads": asked}},
            folder="memory://f", resume_from=[], max_runtime_s=None,
        )  # fmt: skip

        def run(spec: Any, reporter: Reporter, folder: str, resume_from: str | None) -> Any:
            raise RunError("spec_invalid", str(spec.resources.threads))

        said = events_of(Attempt(lease, "hello", "cpu", 4, run=run))
        return said[-1]["message"], [event["message"] for event in said if event.get("level") == "warning"]

    assert threads(3) == ("3", [])
    cut, (warning,) = threads(256)
    assert cut == "4"
    assert "256 is more than this slot's share of the node; the run gets 4" in warning
