"""A run that is interrupted and goes on ends with the same weights as one that never was."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pace_core import storage
from pace_core.backbones import mini
from pace_core.run import run
from pace_core.spec import REASONS, Interrupted, RunError, RunSpec
from pace_core.tensors import pack, unpack
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


def refused(spec: RunSpec, folder: Path) -> RunError:
    with pytest.raises(RunError) as refusal:
        run(spec, Told(), str(folder / "2"), resume_from=str(folder / "1"))
    assert not (folder / "2" / "adapter.safetensors").exists()
    return refusal.value


def test_a_checkpoint_of_another_spec_is_refused_with_what_differs(make_spec: MakeSpec, tmp_path: Path) -> None:
    interrupted(make_spec(), tmp_path / "1", 2)
    refusal = refused(make_spec(optimizer__lr=0.02, training={"epochs": 5}), tmp_path)
    assert refusal.reason == "spec_invalid"
    assert "optimizer.lr was 0.01 and is now 0.02" in refusal.message
    assert "training.epochs was 2 and is now 5" in refusal.message


def test_what_changes_no_result_may_change_between_attempts(
    make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    interrupted(make_spec(), tmp_path / "1", 2)
    (tmp_path / "moved").symlink_to(pictures)
    spec = make_spec(
        task__path=str(tmp_path / "moved"), resources={"threads": 2}, training={"checkpoint_every_steps": 1}
    )
    assert run(spec, Told(), str(tmp_path / "2"), resume_from=str(tmp_path / "1")).adapter


def test_data_that_changed_since_the_checkpoint_is_refused_with_what_changed(
    make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    spec = make_spec(task__path=str(data))
    interrupted(spec, tmp_path / "1", 2)

    shutil.copy(data / "train" / "red" / "0.png", data / "train" / "blue" / "0.png")  # one image, as long as before
    refusal = refused(spec, tmp_path)
    assert refusal.reason == "data_changed"
    assert not REASONS[refusal.reason].retryable
    assert "the classes are unchanged" in refusal.message

    for split in ("train", "val", "test"):
        (data / split / "blue").rename(data / split / "indigo")  # the number of classes is what it was
    refusal = refused(spec, tmp_path)
    assert refusal.reason == "data_changed"
    assert "new classes: indigo; gone: blue" in refusal.message


def test_pretrained_weights_that_changed_since_the_checkpoint_are_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    weights = load_file(mini.WEIGHTS)
    save_file(weights, tmp_path / "net.safetensors")
    spec = make_spec(backbone__weights=str(tmp_path / "net.safetensors"))
    interrupted(spec, tmp_path / "1", 2)
    save_file({name: value * 1.5 for name, value in weights.items()}, tmp_path / "net.safetensors")
    refusal = refused(spec, tmp_path)
    assert refusal.reason == "spec_invalid"
    assert refusal.message.startswith("backbone.weights")


def test_a_search_that_was_interrupted_does_not_go_on_with_other_data(
    make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    search = {"population": 2, "parents": 2, "generations": 0, "mutations": 1, "crossovers": 1}
    small = {"name": "glora", "rank": 2, **search}
    spec = make_spec(method=small, task__path=str(data))
    interrupted(spec, tmp_path / "1", 2)
    shutil.copy(data / "train" / "red" / "0.png", data / "train" / "blue" / "0.png")
    assert refused(spec, tmp_path).reason == "data_changed"


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half written": (lambda content: content[: len(content) // 2], "is not a checkpoint: its tensors cannot be read"),
    "empty": (lambda content: b"", "was cut off"),
    "of zeros": (lambda content: bytes(len(content)), "is not a checkpoint"),
    "a header of 2 GB": (lambda content: (2**31).to_bytes(8, "little") + content[8:], "was cut off"),
    "a header of 2**63 bytes": (lambda content: (2**63).to_bytes(8, "little") + content[8:], "was cut off"),
    "of another version": (lambda content: _edited(content, results_version=0), "another version"),
    "of a version without a basis": (lambda content: _edited(content, basis=None), "its metadata cannot be read"),
    "with another kind of progress": (
        lambda content: _edited(content, progress={"steps": 3}),
        "its metadata cannot be read",
    ),
    "with tensors of another method": (lambda content: _renamed(content), "not those of this method"),
    "with NaN": (lambda content: _spoilt(content), "not finite numbers, in trained:head.bias"),
}


def _edited(content: bytes, **changes: Any) -> bytes:
    tensors, facts = unpack(content)
    return pack(tensors, {**facts, **changes})


def _renamed(content: bytes) -> bytes:
    tensors, facts = unpack(content)
    return pack({name.replace("trained:blocks", "trained:../../blocks"): t for name, t in tensors.items()}, facts)


def _spoilt(content: bytes) -> bytes:
    tensors, facts = unpack(content)
    tensors["trained:head.bias"][1] = float("nan")
    return pack(tensors, facts)


@pytest.mark.parametrize(("spoil", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_checkpoint_that_cannot_be_used_is_refused_with_a_sentence(
    spoil: Callable[[bytes], bytes], says: str, make_spec: MakeSpec, tmp_path: Path
) -> None:
    interrupted(make_spec(), tmp_path / "1", 2)
    file = tmp_path / "1" / checkpoint.NAME
    file.write_bytes(spoil(file.read_bytes()))
    refusal = refused(make_spec(), tmp_path)
    assert refusal.reason == "spec_invalid"
    assert says in refusal.message
