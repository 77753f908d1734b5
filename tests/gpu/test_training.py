"""Training on a GPU: every method and regularizer, in every precision, held to float64 on the CPU."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pace_core import methods, regularizers
from pace_core.adapters import Predictor, read_adapter
from pace_core.network.noised_product import noised_product
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext
from pace_core.run import run
from pace_core.spec import Interrupted, RunSpec, estimate, load_catalogue, validate
from pace_core.training.optimizer import trainable
from pace_core.training.recorded import RecordedSteps
from perf.shapes import draw_shapes
from tests.networks import images, tiny_swin, tiny_vit
from tests.pace_core.training.told import Told

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
METHODS, REGULARIZERS = methods.entries(), regularizers.entries()
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (partial(tiny_vit, depth=3), 16),
    "swin": (tiny_swin, 32),
}
COMBINATIONS = [
    (network, m, r)
    for network in NETWORKS
    for m, method in METHODS.items()
    for r, regularizer in REGULARIZERS.items()
    if network in method.fits and regularizer.needs <= method.gives
]


class SameDraws(SeededSource):
    """A source that draws on the CPU in float64, wherever the draws are used: each device draws its own otherwise."""

    def normal(self, step: int, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return super().normal(step, name, shape, torch.empty(0, dtype=torch.float64)).to(like)

    def bernoulli(self, step: int, name: str, samples: int, probability: float, like: Tensor) -> Tensor:
        return super().bernoulli(step, name, samples, probability, torch.empty(0, dtype=torch.float64)).to(like)


def step(
    combination: tuple[str, str, str], device: torch.device, dtype: torch.dtype, autocast: Any = nullcontext
) -> tuple[dict[str, float], Tensor]:
    """One step's terms, and its gradient by all trained parameters, in float64 on the CPU."""
    network, method, regularizer = combination
    made, size = NETWORKS[network]
    model = made()
    adapting = METHODS[method]
    # dropout is torch's own, and draws otherwise on each device
    asked = {"rank": 3, "dropout": 0.0, "prompt_dropout": 0.0}
    params = {name: value for name, value in asked.items() if name in adapting.params.model_fields}
    adapting.adapt(model, adapting.params(**params), torch.Generator().manual_seed(0))
    model = model.to(device, dtype).train()
    context = StepContext(model, Pass(SameDraws(7)), None, autocast, train_samples=20, num_classes=5)
    declared = REGULARIZERS[regularizer]
    built = declared.make(declared.params(), context)
    stir(model)
    pixels = images(6, size).to(device, dtype)
    batch = Batch(pixels, torch.arange(6, device=device) % 5, torch.arange(6, device=device))
    built.step(batch, 0)
    terms = built.step(batch, 1).terms
    built.after_update()
    parts = [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in trainable(model).values()]
    return {name: float(value) for name, value in terms.items()}, torch.cat(parts).double().cpu()


@torch.no_grad()
def stir(model: nn.Module) -> None:
    """Moves the trained parameters away from their start, by the same on every device and in every precision."""
    rng = torch.Generator().manual_seed(3)
    for parameter in trainable(model).values():
        parameter.add_((0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)).to(parameter))


def distance(found: Tensor, right: Tensor) -> float:
    return float((found - right).norm() / right.norm())


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_a_step_is_the_cpus(combination: tuple[str, str, str]) -> None:
    right_terms, right = step(combination, CPU, torch.float64)
    terms, gradient = step(combination, GPU, torch.float64)
    assert terms == pytest.approx(right_terms, rel=1e-9, abs=1e-12)
    assert distance(gradient, right) < 1e-9
    _, gradient = step(combination, GPU, torch.float32)
    assert distance(gradient, right) < 0.02
    terms, gradient = step(combination, GPU, torch.float32, partial(torch.autocast, "cuda", torch.bfloat16))
    assert terms["loss"] == pytest.approx(right_terms["loss"], rel=0.05, abs=0.02)
    assert distance(gradient, right) < 0.15


def steps_taken(method: str, regularizer: str, *, recorded: bool) -> tuple[Tensor, list[float], RecordedSteps | None]:
    """Where eight steps of float32 lead, and the losses on the way."""
    model = tiny_vit(depth=3, drop_path_rate=0.3)
    adapting = METHODS[method]
    adapting.adapt(model, adapting.params(), torch.Generator().manual_seed(0))
    model = model.to(GPU).train()
    context = StepContext(model, Pass(SeededSource(7)), None, nullcontext, train_samples=20, num_classes=5)
    declared = REGULARIZERS[regularizer]
    made = declared.make(declared.params(), context)
    recording = RecordedSteps(made, context) if recorded else None
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-3, fused=True)
    losses: list[float] = []
    for number in range(8):
        torch.manual_seed(number)  # as the training loop does: timm's own drop path draws from it
        rng = torch.Generator().manual_seed(number)
        pixels = torch.randn(6, 3, 16, 16, generator=rng).to(GPU)
        batch = Batch(
            pixels, torch.randint(5, (6,), generator=rng).to(GPU), torch.randperm(20, generator=rng)[:6].to(GPU)
        )
        optimizer.zero_grad(set_to_none=True)
        losses.append(float((recording or made).step(batch, number).terms["loss"]))
        optimizer.step()
        made.after_update()
    return torch.cat([p.detach().flatten() for p in trainable(model).values()]), losses, recording


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_recorded_steps_lead_where_steps_lead_that_are_not(regularizer: str) -> None:
    right, losses, _ = steps_taken("lora_mul_vpt_add", regularizer, recorded=False)
    found, same, recording = steps_taken("lora_mul_vpt_add", regularizer, recorded=True)
    assert same == pytest.approx(losses, rel=1e-3)
    assert distance(found.cpu(), right.cpu()) < 1e-3
    assert recording
    assert all(recording._recordings.values())  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if "vit" in entry.fits])
def test_steps_of_every_method_can_be_recorded(method: str) -> None:
    regularizer = "pace" if "delta" in METHODS[method].gives else "none"
    right, losses, _ = steps_taken(method, regularizer, recorded=False)
    found, same, recording = steps_taken(method, regularizer, recorded=True)
    assert same == pytest.approx(losses, rel=1e-3)
    assert distance(found.cpu(), right.cpu()) < 1e-3
    assert recording
    assert all(recording._recordings.values())  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("sizes", [(4, 197, 192, 576), (2, 50, 64, 192), (2, 300, 128, 64)], ids=str)
def test_the_noised_product_and_its_gradients_are_the_formulas(sizes: tuple[int, int, int, int]) -> None:
    rows, tokens, depth, out = sizes
    torch.manual_seed(0)
    given = [
        torch.randn(rows, tokens, depth),
        torch.randn(out, depth),
        torch.randn(rows, out),
        torch.randn(out, depth),
        torch.randn(rows, out),
    ]
    grad = torch.randn(rows, tokens, out, device=GPU).bfloat16()
    found, right = [], []
    for name, device, dtype in (("kernels", GPU, torch.bfloat16), ("formula", GPU, torch.float64)):
        x, weight, bias, delta, z = (value.to(device).bfloat16().to(dtype).requires_grad_() for value in given)
        weight.requires_grad_(False)
        if name == "kernels":
            y = noised_product(x, weight, bias, delta, z.detach())
        else:
            y = x @ weight.t() + z.detach().unsqueeze(1) * (x @ delta.t()) + bias.unsqueeze(1)
        y.backward(grad.to(dtype))
        (found if name == "kernels" else right).extend([y.detach(), x.grad, bias.grad, delta.grad])
    for a, b in zip(found, right, strict=True):
        assert distance(a.double(), b) < 0.01


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_a_step_does_not_make_the_host_wait_for_the_device(regularizer: str) -> None:
    model = tiny_vit(depth=3, drop_path_rate=0.3)
    adapting = METHODS["lora_mul_vpt_add"]
    adapting.adapt(model, adapting.params(rank=3), torch.Generator().manual_seed(0))
    model = model.to(GPU).train()
    autocast = partial(torch.autocast, "cuda", torch.bfloat16)
    context = StepContext(model, Pass(SeededSource(7)), None, autocast, train_samples=20, num_classes=5)
    declared = REGULARIZERS[regularizer]
    built = declared.make(declared.params(), context)
    optimizer = torch.optim.AdamW(trainable(model).values(), fused=True)
    batch = Batch(images(6).float().to(GPU), torch.arange(6, device=GPU) % 5, torch.arange(6, device=GPU))
    for number in range(3):
        torch.cuda.set_sync_debug_mode("error" if number else "default")  # the first step sets libraries up
        try:
            optimizer.zero_grad()
            built.step(batch, number)
            optimizer.step()
            built.after_update()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(folder, {"train": 64, "val": 16, "test": 16})
    return folder


@pytest.fixture
def spec(pictures: Path) -> Callable[..., RunSpec]:
    return partial(resolved, pictures)


def resolved(pictures: Path, **changes: Any) -> RunSpec:
    raw: dict[str, Any] = {
        "task": {"name": "shapes", "source": "image_folder", "path": str(pictures)},
        "method": {"name": "lora_mul_vpt_add"},
        "regularizer": {"name": "pace"},
        "training": {"epochs": 3, "batch_size": 32, "checkpoint_every_steps": 4},
        "resources": {"device": "cuda"},
    }
    return validate(raw | changes)


@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if "vit" in entry.fits and ":" not in name])
def test_a_run_of_every_method_learns_and_its_adapter_predicts_on_a_cpu(
    method: str, spec: Callable[..., RunSpec], pictures: Path, tmp_path: Path
) -> None:
    noised = "delta" in METHODS[method].gives
    params: dict[str, Any] = {"supernet_epochs": 1, "population": 4, "generations": 1} if method == "noah" else {}
    asked = spec(method={"name": method, **params}, regularizer={"name": "pace" if noised else "none"})
    told = Told()
    result = run(asked, told, str(tmp_path))
    assert result.provenance.precision == "bfloat16"
    assert result.provenance.device == torch.cuda.get_device_name()
    losses = [m["values"]["train/loss_classification"] for m in told.of("metrics") if "train/loss" in m["values"]]
    assert not losses or losses[-1] < losses[0]  # glora trains its supernet alone, whose epochs are not measured
    assert result.adapter
    shapes = sorted((pictures / "test" / "circle").glob("*.png"))[:8]
    found = Predictor(read_adapter(result.adapter.uri)).of_files([str(path) for path in shapes])
    on_gpu = Predictor(read_adapter(result.adapter.uri), "cuda").of_files([str(path) for path in shapes])
    assert [name for name, _ in found] == [name for name, _ in on_gpu]


def test_a_run_that_is_interrupted_ends_as_one_that_is_not(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    whole = run(spec(), Told(), str(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        run(spec(), Told(ask="pause", after=6), str(tmp_path / "first"))
    resumed = run(spec(), Told(), str(tmp_path / "second"), resume_from=str(tmp_path / "first"))
    assert whole.value("test") == pytest.approx(resumed.value("test"), abs=0.02)


def test_bfloat16_and_float32_runs_agree(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    found = {}
    for precision in ("bfloat16", "float32"):
        training = {"epochs": 3, "batch_size": 32, "precision": precision}
        found[precision] = run(spec(training=training), Told(), str(tmp_path / precision)).value("test")
    assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.04)


@pytest.mark.parametrize("regularizer", ["none", "pace", "pace_fast"])
def test_the_peak_of_the_devices_memory_is_within_the_estimate(
    regularizer: str, spec: Callable[..., RunSpec], tmp_path: Path
) -> None:
    asked = spec(
        backbone={"name": "vit_small_patch16_224.augreg_in21k", "weights": "none"},
        regularizer={"name": regularizer},
        training={"epochs": 1, "batch_size": 64},
    )
    result = run(asked, Told(), str(tmp_path))
    assert result.data
    said = estimate(asked, load_catalogue(), images=result.data.images).memory_bytes
    assert said
    assert result.peak_memory_bytes < said
