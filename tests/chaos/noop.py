"""A run that costs no computing: it sleeps, reports, writes checkpoints and goes on from them, as training does."""

import hashlib
import json
import time
from typing import Any

from pace_core import storage
from pace_core.spec import Interrupted, Reporter, RunResult, RunSpec

TASK = "noop"
CHECKPOINT = "checkpoint.safetensors"
STEPS, STEP_S, STEPS_AN_EPOCH = 6, 0.2, 2


def run(spec: RunSpec, reporter: Reporter, folder: str, resume_from: str | None = None) -> RunResult:
    """Sleeps for a second and a bit.

    What it writes at its end is a function of the seed and of every step, once each and in their order: where one is
    left out or done twice on the way through checkpoints, it is another adapter.
    """
    state: dict[str, Any] = {"step": 0, "digest": _digest(str(spec.seed))}
    saved = None if resume_from is None else storage.read(storage.join(resume_from, CHECKPOINT))
    if saved is not None:
        state = json.loads(saved)
    reporter.event("stage", {"name": "train"})
    while state["step"] < STEPS:
        time.sleep(STEP_S)
        step = state["step"] + 1
        state = {"step": step, "digest": _digest(f"{state['digest']}/{step}")}
        reporter.event("progress", {"step": step, "steps": STEPS})
        directive = reporter.directive()
        if step % STEPS_AN_EPOCH == 0 or directive != "continue":
            storage.write(storage.join(folder, CHECKPOINT), json.dumps(state).encode())
            reporter.event("checkpoint", {"step": step})
        if step % STEPS_AN_EPOCH == 0:
            values = {"train/loss": _number(state["digest"])}
            reporter.event("metrics", {"epoch": step // STEPS_AN_EPOCH, "step": step, "values": values})
        if directive != "continue":
            raise Interrupted(directive)
    uri = storage.join(folder, "adapter.safetensors")
    content = state["digest"].encode()
    storage.write(uri, content)
    return RunResult.model_validate(
        {
            "metrics": [
                {
                    "task": TASK,
                    "split": "test",
                    "metric": "accuracy",
                    "value": _number(state["digest"]),
                    "epoch": STEPS // STEPS_AN_EPOCH,
                }
            ],
            "trainable_parameters": 1,
            "adapter_parameters": 1,
            "seconds": STEPS * STEP_S,
            "train_seconds": STEPS * STEP_S,
            "images_per_s": 0.0,
            "peak_memory_bytes": 0,
            "adapter": {"uri": uri, "sha256": hashlib.sha256(content).hexdigest()},
            "provenance": {
                "code_version": TASK,
                "results_version": 0,
                "weights_hash": TASK,
                "data_hash": TASK,
                "precision": "float32",
                "device": "cpu",
                "cpu_features": "",
                "threads": 1,
                "libraries": {},
            },
        }
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _number(digest: str) -> float:
    return int(digest[:8], 16) / 2**32
