"""One attempt of one job: runs the core in a thread of its own and says how it ended."""

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fsspec.core import url_to_fs

from pace_core.provenance import reset_peak_memory
from pace_core.remote import release
from pace_core.run import run
from pace_core.spec import Directive, Interrupted, RunError, RunResult, RunSpec
from pace_core.spec.leases import Lease
from pace_core.training.checkpoint import NAME as CHECKPOINT
from pace_core.uploads import place
from worker.outbox import Outbox
from worker.uploads import fetched

Run = Callable[..., RunResult]
TRACEBACK_LINES = 30


class Attempt:
    """An attempt at a lease, started at once: the reporter of its run, and what the dispatcher reads from."""

    def __init__(self, lease: Lease, greeting: str, device: str, threads: int = 1, run: Run = run) -> None:
        self.lease = lease
        self._device = torch.device(device)
        self.outbox = Outbox()
        self.reason: str | None = None
        self._run = run
        self._threads = threads
        self._asked: Directive = "continue"
        self._deadline = None if lease.max_runtime_s is None else time.monotonic() + lease.max_runtime_s
        self.outbox.put("log", {"level": "info", "message": greeting})
        self._thread = threading.Thread(target=self._work, name=f"{lease.job}/{lease.attempt}", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits for the run to end."""
        self._thread.join(timeout_s)

    def ask(self, directive: Directive) -> None:
        """Passes on what the service wants; the run sees it after its step."""
        self._asked = directive

    def event(self, type: str, data: dict[str, Any]) -> None:
        self.outbox.put(type, data)

    def directive(self) -> Directive:
        return "stop" if self._overtime() else self._asked

    def _overtime(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _work(self) -> None:
        reason, message, result = self._outcome()
        self.reason = reason
        self.outbox.put("end", {"reason": reason, "message": message, "result": result})
        reset_peak_memory(self._device)  # takes half a second: now, when nobody waits, and not before the next job

    def _within_the_slot(self, spec: RunSpec) -> RunSpec:
        """The spec with no more threads than the slot has cores: others work beside it."""
        asked = spec.resources.threads
        if asked <= self._threads:
            return spec
        message = f"resources.threads: {asked} is more than this slot's share of the node; the run gets {self._threads}"
        self.outbox.put("log", {"level": "warning", "message": message})
        return spec.model_copy(update={"resources": spec.resources.model_copy(update={"threads": self._threads})})

    def _outcome(self) -> tuple[str, str, dict[str, Any] | None]:
        try:
            spec = self._within_the_slot(_with_its_start(RunSpec.model_validate(self.lease.spec), self.lease))
            upload = self.lease.upload
            release()
            place({} if upload is None else {upload.name: fetched(upload)})
            result = self._run(spec, self, self.lease.folder, resume_from=newest_checkpoint(self.lease.resume_from))
        except RunError as error:
            return error.reason, error.message, None
        except Interrupted as stopped:
            if self._overtime():
                message = f"The job has used up the {self.lease.max_runtime_s:g} s of training time that it had left."
                return "timed_out", message, None
            return ("paused" if stopped.directive == "pause" else "cancelled"), "", None
        except BaseException as error:  # whatever it is, an attempt that does not say its end keeps its slot for ever
            return "crashed", self._crash(error), None
        return "succeeded", "", result.model_dump()

    def _crash(self, error: BaseException) -> str:
        """Leaves the traceback in the log; returns the error's first line."""
        try:
            lines = traceback.format_exc().splitlines()[-TRACEBACK_LINES:]
            self.outbox.put("log", {"level": "error", "message": "\n".join(lines)})
            said = str(error).splitlines()[0] if str(error) else ""
        except Exception:  # an error whose own text fails
            said = ""
        return f"{type(error).__name__}: {said}"


def _with_its_start(spec: RunSpec, lease: Lease) -> RunSpec:
    """The spec with the file in the place of the job whose adapter it starts from."""
    if spec.init_from is None:
        return spec
    if lease.init_from is None:
        raise RunError(
            "spec_invalid",
            f"init_from: {spec.init_from} is not a job of this service; submit it again with one that is",
        )
    return spec.model_copy(update={"init_from": lease.init_from})


def newest_checkpoint(folders: Sequence[str]) -> str | None:
    """Returns the first of these folders with a checkpoint, which is complete or absent, as it is moved in place."""
    for folder in folders:
        filesystem, path = url_to_fs(f"{folder}/{CHECKPOINT}")
        if filesystem.exists(path):
            return folder
    return None
