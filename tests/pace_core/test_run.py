"""The core alone: a spec in, a result out, and every way in which a run can fail has a name."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pace_core import storage
from pace_core.backbones import vision
from pace_core.regularizers import none
from pace_core.run import run
from pace_core.spec import RunError, RunSpec
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]


def failure(spec: RunSpec, folder: Path) -> RunError:
    with pytest.raises(RunError) as failed:
        run(spec, Told(), str(folder))
    return failed.value


def test_a_search_measures_on_validation_data_and_knows_its_best_epoch(make_spec: MakeSpec, tmp_path: Path) -> None:
    told = Told()
    result = run(make_spec(training={"epochs": 4, "warmup_epochs": 1}), told, str(tmp_path))
    assert [stage["name"] for stage in told.of("stage")] == ["backbone", "data", "train", "evaluate", "adapter"]
    epochs = told.of("metrics")
    assert [m["epoch"] for m in epochs] == [1, 2, 3, 4]
    accuracies = [m["values"]["val/accuracy"] for m in epochs]
    assert result.value("val") == accuracies[-1]
    assert result.value("best_val") == max(accuracies)
    assert epochs[-1]["values"]["train/loss"] < epochs[0]["values"]["train/loss"]
    assert result.value("test") is None


def test_a_final_run_tests_once_and_knows_no_best_epoch(make_spec: MakeSpec, tmp_path: Path) -> None:
    told = Told()
    result = run(make_spec(task__phase="final"), told, str(tmp_path))
    measured = [m["epoch"] for m in told.of("metrics") if "test/accuracy" in m["values"]]
    assert measured == [2]
    assert {m.split for m in result.metrics} == {"test"}


def test_a_result_says_what_it_depends_on(make_spec: MakeSpec, tmp_path: Path) -> None:
    result = run(make_spec(method={"name": "lora_add", "rank": 4}), Told(), str(tmp_path))
    blocks, rank, sizes = 6, 4, [(128, 384), (128, 128), (128, 512), (512, 128)]
    assert result.adapter_parameters == blocks * sum(rank * (i + o) + o for i, o in sizes)
    assert result.trainable_parameters == result.adapter_parameters + 3 * 129
    assert result.peak_memory_bytes > 10_000_000
    assert result.images_per_s > 0
    assert result.provenance.precision == "float32"
    assert result.provenance.libraries["torch"] == torch.__version__.split("+")[0]
    assert len(result.provenance.weights_hash) == 64
    assert len(result.provenance.data_hash) == 64


def test_zero_epochs_evaluate_the_pretrained_model(make_spec: MakeSpec, tmp_path: Path) -> None:
    result = run(make_spec(training={"epochs": 0}), Told(), str(tmp_path))
    assert {(m.split, m.epoch) for m in result.metrics} == {("val", 0)}
    assert result.adapter is None


def test_a_batch_may_be_larger_than_the_data(make_spec: MakeSpec, tmp_path: Path) -> None:
    told = Told()
    run(make_spec(training={"batch_size": 1000, "epochs": 2}), told, str(tmp_path))
    assert [p["steps"] for p in told.of("progress") if "steps" in p][-1] == 2


def test_micro_batches_leave_the_outcome_as_it_is(make_spec: MakeSpec, tmp_path: Path) -> None:
    pace = {"name": "pace", "sigma": 1.0, "lambda": 0.5}
    losses = []
    for micro_batch in (None, 4):
        told = Told()
        training = {"epochs": 1, "micro_batch": micro_batch, "precision": "float64", "drop_path": 0.4}
        run(make_spec(regularizer=pace, training=training), told, str(tmp_path))
        losses.append(told.of("metrics")[0]["values"]["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_another_seed_gives_another_adapter_and_the_same_seed_the_same(make_spec: MakeSpec, tmp_path: Path) -> None:
    shas = []
    for number, seed in enumerate((0, 0, 1)):
        result = run(make_spec(seed=seed, training={"epochs": 1}), Told(), str(tmp_path / str(number)))
        assert result.adapter
        shas.append((tmp_path / str(number) / "adapter.safetensors").read_bytes())
    assert shas[0] == shas[1] != shas[2]


def test_diagnostics_are_measured_where_asked_for(make_spec: MakeSpec, tmp_path: Path) -> None:
    told = Told()
    run(make_spec(training={"epochs": 1, "diagnostics": True}), told, str(tmp_path))
    values = told.of("metrics")[0]["values"]
    assert all(values[f"val/{n}"] > 0 for n in ("gradient_norm_loss", "gradient_norm_output", "fp_distance"))
    assert all(values[name] > 0 for name in ("val/loss", "train_set/loss", "train_set/accuracy"))


def test_an_absurd_learning_rate_ends_as_nan_and_keeps_the_last_good_checkpoint(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(
        method={"name": "full"},
        optimizer__lr=1e30,
        training={"warmup_epochs": 1, "warmup_lr": 0.0, "checkpoint_every_steps": 1},
    )
    failed = failure(spec, tmp_path)
    assert failed.reason == "nan"
    assert "optimizer.lr" in failed.message
    kept = storage.read(storage.join(str(tmp_path), "checkpoint.safetensors"))
    assert kept


def test_a_corrupt_image_is_named_before_training(make_spec: MakeSpec, pictures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    for split in ("train", "val"):
        for name in ("red", "green"):
            (broken / split / name).mkdir(parents=True)
            source = pictures / split / name / "0.png"
            (broken / split / name / "0.png").write_bytes(source.read_bytes())
    (broken / "train" / "red" / "bad.png").write_bytes(b"no image")
    failed = failure(make_spec(task__path=str(broken)), tmp_path / "run")
    assert failed.reason == "data_corrupt"
    assert "bad.png" in failed.message


def data_with_a_class_called(name: bytes, pictures: Path, root: Path) -> str:
    """Without split folders, so that files are drawn for the test split by their names."""
    for folder in (b"red", name):
        target = os.fsencode(root) + b"/" + folder
        os.makedirs(target)
        for number in range(4):
            source = pictures / "train" / ("red" if folder == b"red" else "blue") / f"{number}.png"
            shutil.copyfile(source, target + b"/Pl\xe4tze %d.png" % number)
    return str(root)


def test_file_names_that_are_not_utf8_are_names_like_others(
    make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    path = data_with_a_class_called("Plätze".encode(), pictures, tmp_path / "data")
    result = run(make_spec(task__path=path, task__phase="final", training={"epochs": 1}), Told(), str(tmp_path / "run"))
    assert result.adapter


@pytest.mark.parametrize("name", [b"Pl\xe4tze", b"\xff"])
def test_a_class_name_that_is_not_utf8_is_refused_with_its_escaped_name(
    name: bytes, make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    spec = make_spec(task__path=data_with_a_class_called(name, pictures, tmp_path / "data"), task__phase="final")
    failed = failure(spec, tmp_path / "run")
    assert failed.reason == "data_corrupt"
    assert repr(name)[2:-1] in failed.message
    assert "rename" in failed.message
    assert failed.message.isprintable()


def test_a_class_name_without_end_is_refused(make_spec: MakeSpec, pictures: Path, tmp_path: Path) -> None:
    rows = [
        f"{pictures}/train/{c}/{n}.png,{label}" for c, label in (("red", "red"), ("blue", "b" * 500)) for n in range(4)
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    task = {"name": "long", "source": "csv", "path": str(tmp_path / "list.csv"), "phase": "search"}
    failed = failure(make_spec(task=task), tmp_path / "run")
    assert failed.reason == "data_corrupt"
    assert "has 500 characters, more than 200" in failed.message
    assert len(failed.message) < 300


def test_a_missing_folder_is_named(make_spec: MakeSpec, tmp_path: Path) -> None:
    failed = failure(make_spec(task__path=str(tmp_path / "nowhere")), tmp_path)
    assert failed.reason == "data_missing"
    assert "nowhere" in failed.message


def test_a_class_count_that_contradicts_the_data_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    failed = failure(make_spec(task__num_classes=7), tmp_path)
    assert failed.reason in ("spec_invalid", "data_corrupt")
    assert "7" in failed.message


def test_a_missing_weight_file_is_named(make_spec: MakeSpec, tmp_path: Path) -> None:
    failed = failure(make_spec(backbone__weights=str(tmp_path / "gone.safetensors")), tmp_path)
    assert failed.reason == "weights_missing"
    assert "gone.safetensors" in failed.message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_a_fault_of_the_spec(make_spec: MakeSpec, tmp_path: Path) -> None:
    failed = failure(make_spec(resources={"device": "cuda"}), tmp_path)
    assert failed.reason == "spec_invalid"
    assert "resources.device" in failed.message


@pytest.mark.parametrize(
    ("raised", "reason", "cure"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), "out_of_memory", "training.micro_batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", "training.micro_batch"),
        (MemoryError(), "out_of_memory", "training.micro_batch"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "Free room"),
    ],
    ids=["gpu", "cpu", "python", "disk"],
)
def test_what_runs_out_is_named_with_the_cure(
    raised: Exception, reason: str, cure: str, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any) -> Any:
        raise raised

    monkeypatch.setattr(none.Regularizer, "step", step)
    failed = failure(make_spec(), tmp_path)
    assert failed.reason == reason
    assert cure in failed.message
    assert (str(raised) or type(raised).__name__) in failed.message


def test_runs_of_one_process_do_not_touch_each_other(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(method={"name": "full"}, training={"epochs": 1})
    before = vision.load(spec.backbone, num_classes=0, drop_path=0.1).model.state_dict()
    run(spec, Told(), str(tmp_path))
    after = vision.load(spec.backbone, num_classes=0, drop_path=0.1).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
