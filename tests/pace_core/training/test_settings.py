"""Settings of training as a user sees them: in the weights, and in the numbers reported."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pace_core.backbones import vision
from pace_core.preprocessing import Preprocessing
from pace_core.run import run
from pace_core.spec import Backbone, RunSpec, Training
from pace_core.stage import adapted
from pace_core.training.compute import Compute
from pace_core.training.precision import choose_precision
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]


def trained(spec: RunSpec, folder: Path) -> dict[str, torch.Tensor]:
    run(spec, Told(), str(folder))
    return load_file(folder / "adapter.safetensors")


def test_the_average_is_saved_and_its_weights_are_measured(make_spec: MakeSpec, tmp_path: Path) -> None:
    """Of decay d, the saved weights are the running average of those that each step left."""
    steps = []
    for epochs in (1, 2, 3):  # at a constant rate a shorter run is the beginning of a longer one
        constant = {"epochs": epochs, "batch_size": 21, "warmup_epochs": 0, "min_lr": 0.01, "drop_path": 0.0}
        steps.append(trained(make_spec(training=constant), tmp_path / str(epochs)))
    constant["ema_decay"] = 0.75
    saved = trained(make_spec(training=constant), tmp_path / "average")
    for name, value in saved.items():
        first, second, third = (weights[name] for weights in steps)
        expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        assert torch.allclose(value, expected, atol=1e-6), name
    assert not torch.allclose(saved["head.weight"], steps[-1]["head.weight"], atol=1e-4)


def test_a_term_of_some_steps_is_averaged_over_those(make_spec: MakeSpec, tmp_path: Path) -> None:
    """With interval 3 in an epoch of three steps, the term exists in the first one alone."""
    said = []
    for interval in (3, 1):
        told = Told()
        lazy = {"name": "pace_lazy_half", "sigma": 1.0, "lambda": 0.0, "interval": interval}
        training = {"epochs": 1, "warmup_epochs": 0, "min_lr": 0.0, "drop_path": 0.0}
        run(make_spec(regularizer=lazy, optimizer__lr=1e-12, training=training), told, str(tmp_path / str(interval)))
        said.append(told.of("metrics")[0]["values"]["train/loss_consistency"])
    assert said[0] == pytest.approx(said[1], rel=0.9)
    assert said[0] > 0.5 * said[1]


@pytest.mark.parametrize("how", ["normal", "timm", "zero"])
def test_the_head_starts_as_the_spec_says(how: str, make_spec: MakeSpec) -> None:
    spec = make_spec(training={"head_init": how})
    cpu = torch.device("cpu")
    compute = Compute(Preprocessing(16, (0.5,) * 3, (0.5,) * 3), choose_precision(spec.training, cpu), cpu)
    loaded = vision.load(Backbone(image_size=16, weights="none"), num_classes=0, drop_path=0.0)
    head: Any = adapted(spec, loaded.model, 3, compute).get_submodule("head")
    size, bound = head.weight.abs().max(), 128**-0.5
    match how:
        case "zero":
            assert size == 0
            assert head.bias.abs().max() == 0
        case "timm":
            assert 0.9 * bound < size <= bound
            assert 0 < head.bias.abs().max() <= bound
        case _:
            assert 0.015 < head.weight.std() < 0.025
            assert head.bias.abs().max() == 0


@pytest.mark.parametrize(
    "settings",
    [{"training": {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}}, {"training": {"label_smoothing": 0.1}}],
    ids=["mixtures", "smoothing"],
)
@pytest.mark.parametrize("regularizer", ["none", "pace", "pace_lazy_half", "delta", "sam", "gradient_penalty"])
def test_soft_targets_go_through_every_kind_of_step(
    regularizer: str, settings: dict[str, Any], make_spec: MakeSpec, tmp_path: Path
) -> None:
    told = Told()
    steps = {"epochs": 1, "micro_batch": 4}
    run(make_spec(regularizer={"name": regularizer}, training=steps | settings["training"]), told, str(tmp_path))
    assert told.of("metrics")[0]["values"]["train/loss"] > 0


@pytest.mark.parametrize("regularizer", ["none", "sam", "ftp"])
def test_clipping_bounds_what_the_optimizer_sees_under_every_kind_of_step(
    regularizer: str, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """Plain SGD moves by rate times gradient, so a step is no longer than rate times the bound."""
    plain = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    once = {"epochs": 1, "batch_size": 21, "warmup_epochs": 0, "min_lr": 1.0, "drop_path": 0.0, "micro_batch": 8}
    spec = make_spec(regularizer={"name": regularizer}, optimizer={**plain, "clip_norm": 1e-3}, training=once)
    start = trained(
        make_spec(
            regularizer={"name": regularizer}, optimizer={**plain, "lr": 1e-30}, training={**once, "min_lr": 0.0}
        ),
        tmp_path / "0",
    )
    after = trained(spec, tmp_path / "1")
    moved = torch.stack([(after[name] - start[name]).double().square().sum() for name in after]).sum().sqrt()
    assert 0 < float(moved) <= 1.001e-3


@pytest.fixture
def multiplying() -> Iterator[Callable[[], tuple[str, bool]]]:
    """How this process multiplies float32 on a GPU; as it was after the test."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_float32_on_a_gpu_is_not_shortened_to_tf32(multiplying: Callable[[], tuple[str, bool]]) -> None:
    """Published rows are of float32; what a warm worker ran before makes no difference."""
    gpu = torch.device("cuda")
    choose_precision(Training(epochs=1, precision="bfloat16"), gpu)
    assert multiplying() == ("high", True)
    for precision in ("float32", "float64"):
        choose_precision(Training(epochs=1, precision=precision), gpu)
        assert multiplying() == ("highest", False)
