"""A run that is interrupted and goes on ends with the same weights as one that never was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pace_core import storage
from pace_core.run import run
from pace_core.spec import Interrupted, RunError, RunSpec
from pace_core.training import checkpoint
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]
PACE = {"name": "pace", "sigma": 1.0, "lambda": 0.5}
FAST = {"name": "pace_fast", "sigma": 1.0, "lambda": 0.2}
LAZY = {"name": "pace_lazy_half", "sigma": 1.0, "lambda": 1.0, "interval": 2}
NONE = {"name": "none"}


def interrupted(spec: RunSpec, folder: Path, after: int, directive: str = "pause") -> Told:
    told = Told(directive, after)
    with pytest.raises(Interrupted) as stopped:
        run(spec, told, str(folder))
    assert stopped.value.directive == directive
    return told


@pytest.mark.parametrize("regularizer", [PACE, FAST, LAZY, NONE], ids=lambda r: r["name"])
def test_a_run_paused_again_and_again_ends_with_the_same_adapter(
    regularizer: dict[str, Any], make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(regularizer=regularizer, training={"drop_path": 0.3})  # 3 steps an epoch, 6 in all
    whole = run(spec, Told(), str(tmp_path / "whole"))
    earlier = None
    for step, steps in ((1, 1), (3, 2), (5, 2)):  # inside the first epoch, at its end, inside the second
        folder = str(tmp_path / str(step))
        with pytest.raises(Interrupted):
            run(spec, Told("pause", steps), folder, resume_from=earlier)
        earlier = folder
    told = Told()
    result = run(spec, told, str(tmp_path / "last"), resume_from=earlier)
    assert told.first_step == 6
    assert result.adapter
    assert whole.adapter
    assert result.adapter.sha256 == whole.adapter.sha256
    assert result.metrics == whole.metrics


SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": {"name": "sgd", "lr": 0.01}},
    "sgd without momentum": {"optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.0}},
    "clipping and a rate for the head": {"optimizer": {"clip_norm": 0.1, "head_lr": 0.1}},
    "mixtures": {"training": {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}},
    "rand_augment": {"training": {"rand_augment": "rand-m9-mstd0.5-inc1"}},
    "an average": {"training": {"ema_decay": 0.9}},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_paused_run_ends_the_same_under_every_setting(
    settings: dict[str, Any], make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(**settings)
    whole = run(spec, Told(), str(tmp_path / "whole"))
    interrupted(spec, tmp_path / "1", 4)
    resumed = run(spec, Told(), str(tmp_path / "2"), resume_from=str(tmp_path / "1"))
    assert resumed.adapter
    assert whole.adapter
    assert resumed.adapter.sha256 == whole.adapter.sha256
    assert resumed.metrics == whole.metrics


def test_a_run_killed_between_checkpoints_ends_with_the_same_adapter(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(regularizer=FAST, training={"checkpoint_every_steps": 2})

    class Killed(Told):
        def directive(self) -> Any:
            self.polls = getattr(self, "polls", 0) + 1
            if self.polls == 4:  # the checkpoint of step 4 is not written yet
                raise SystemError("killed")
            return "continue"

    with pytest.raises(SystemError):
        run(spec, Killed(), str(tmp_path / "first"))
    told = Told()
    result = run(spec, told, str(tmp_path / "second"), resume_from=str(tmp_path / "first"))
    assert told.first_step == 3
    whole = run(spec, Told(), str(tmp_path / "whole"))
    assert result.adapter
    assert whole.adapter
    assert result.adapter.sha256 == whole.adapter.sha256


def test_an_attempt_that_dies_at_once_leaves_the_next_one_a_checkpoint(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    interrupted(spec, tmp_path / "1", 3)
    told = Told("stop", 1)
    with pytest.raises(Interrupted):
        run(spec, told, str(tmp_path / "2"), resume_from=str(tmp_path / "1"))
    assert storage.read(storage.join(str(tmp_path / "2"), checkpoint.NAME))
    assert told.of("checkpoint")[-1]["step"] == 4


def test_a_stop_comes_with_a_checkpoint_of_the_step_just_done(make_spec: MakeSpec, tmp_path: Path) -> None:
    told = interrupted(make_spec(training={"checkpoint_every_steps": 50}), tmp_path, 4, "stop")
    assert told.of("checkpoint") == [{"epoch": 1, "step": 4}]


def test_without_an_earlier_checkpoint_a_run_begins_anew_and_says_so(make_spec: MakeSpec, tmp_path: Path) -> None:
    told = Told()
    run(make_spec(training={"epochs": 1}), told, str(tmp_path / "2"), resume_from=str(tmp_path / "1"))
    assert "no checkpoint" in told.of("log")[0]["message"]


def test_a_checkpoint_of_another_spec_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    interrupted(make_spec(), tmp_path / "1", 2)
    with pytest.raises(RunError, match="of another spec") as refused:
        run(make_spec(optimizer__lr=0.02), Told(), str(tmp_path / "2"), resume_from=str(tmp_path / "1"))
    assert refused.value.reason == "spec_invalid"
