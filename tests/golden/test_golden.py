"""The step agrees with the paper authors' implementation to 1e-10 in float64."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent


def test_every_reference_number_is_met() -> None:
    done = subprocess.run([sys.executable, HERE / "replay.py", HERE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    for what in ("lazy_even.grad", "fast.history_after", "trajectory.step3", "lr_by_epoch.300", "drop_path"):
        assert what in done.stdout


def test_the_replay_notices_a_wrong_number(tmp_path: Path) -> None:
    tensors = load_file(HERE / "reference_pace_step.safetensors")
    tensors["LoRAadd.pace.grad.head.bias"] += 1e-9 * torch.ones_like(tensors["LoRAadd.pace.grad.head.bias"])
    save_file(tensors, tmp_path / "reference_pace_step.safetensors")
    shutil.copy(HERE / "reference_pace_step.json", tmp_path)
    script = runpy.run_path(str(HERE / "replay.py"))
    off = [what for what, difference in script["replay"](tmp_path) if difference > script["TOLERANCE"]]
    assert off == ["LoRAadd.pace.grad.head.bias"]
