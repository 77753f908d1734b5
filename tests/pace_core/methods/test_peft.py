"""Every tuner of HF `peft` as a method: adapted, told apart, under PACE, saved, merged."""

import math
from contextlib import nullcontext

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pace_core import methods
from pace_core.adapters import load_trained, merge
from pace_core.methods._peft import tuners
from pace_core.network.parts import head_prefix
from pace_core.network.pretrained import pretrained_weights
from pace_core.network.residual import Residual, residuals
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext, pace
from pace_core.spec import RunError, SpecError, validate
from pace_core.training.optimizer import trainable
from tests.networks import images, stirred, tiny_vit

# sizes for layers of 24 channels, where the usual ones are too large
SMALL = {
    "peft:C3A": {"block_size": 8},
    "peft:FOURIERFT": {"n_frequency": 50},
    "peft:FROD": {"progressbar": False},
    "peft:MISS": {"r": 4},
    "peft:PSOFT": {"r": 4},
    "peft:PVERA": {"r": 8},
    "peft:ROAD": {"group_size": 8},
    "peft:SHIRA": {"r": 2},
    "peft:VBLORA": {"vector_length": 8, "num_vectors": 16},
    "peft:VERA": {"r": 8},
    "peft:WAVEFT": {"n_frequency": 50},
}
NAMES = list(tuners())
SINGLE_INSIDE = {"peft:C3A", "peft:DEFT", "peft:FROD", "peft:PSOFT"}  # peft computes parts of these in float32


def adapted(name: str, seed: int = 0, **params: object) -> nn.Module:
    """In float64; `peft` itself works on float32 weights, as in a run."""
    tuner, model = methods.find(name), tiny_vit().eval()
    tuner.adapt(model, tuner.params(**SMALL.get(name, {}) | params), torch.Generator().manual_seed(seed))
    return model.double().eval()


def tolerance(name: str) -> float:
    return 1e-5 if name in SINGLE_INSIDE else 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_before_training_and_switched_off_the_features_are_the_pretrained_ones(name: str) -> None:
    before = tiny_vit().eval().double().forward_features(images(4))
    model = adapted(name)
    if methods.find(name).starts_pretrained:
        torch.testing.assert_close(model.forward_features(images(4)), before, rtol=0, atol=tolerance(name))
    model = stirred(model)
    assert not torch.allclose(model.forward_features(images(4)), before, atol=1e-4)
    with pretrained_weights(model):
        torch.testing.assert_close(model.forward_features(images(4)), before, rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", NAMES)
def test_what_was_trained_loads_onto_a_fresh_backbone(name: str) -> None:
    model = stirred(adapted(name, seed=4))
    fresh = adapted(name, seed=5)
    load_trained(fresh, {key: value.detach().clone() for key, value in trainable(model).items()}, origin="the file")
    torch.testing.assert_close(fresh(images(4)), model(images(4)), rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", NAMES)
def test_merged_it_computes_the_same(name: str) -> None:
    model = stirred(adapted(name))
    apart = model(images(4)).detach()
    layers = len(residuals(model))
    merged = merge(model)
    assert len(residuals(merged)) == (layers if name == "peft:LILY" else 0), "only Lily cannot merge"
    torch.testing.assert_close(merged(images(4)), apart, rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", NAMES)
def test_two_draws_are_the_network_run_twice_with_its_changes_multiplied(name: str) -> None:
    model = stirred(adapted(name))
    current, step = Pass(SeededSource(7)), 3
    made = _pace(model, current)
    sigmas = {
        layer: noise.sigma if (noise := module.layer_noise) else 0.0 for layer, module in residuals(model).items()
    }
    assert [sigma for layer, sigma in sigmas.items() if layer.startswith("blocks.0.")] == [0.0] * (len(sigmas) // 2)
    assert sigmas[next(layer for layer in sigmas if layer.startswith("blocks.1."))] == pytest.approx(0.6)
    with torch.no_grad(), current.noised(step, 4, 2, slice(0, 4)):
        ours = model(images(4))
    plain, source = stirred(adapted(name)), SeededSource(7)

    def multiplied(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(layer, Residual)
        eps = source.normal(step, layer.name, (8, output.shape[-1]), output)
        base = layer.get_base_layer()(*args)
        return base + (1 + sigmas[layer.name] * (eps if output.dim() == 2 else eps[:, None])) * (output - base)

    for layer in residuals(plain).values():
        layer.register_forward_hook(multiplied)
    eps = source.normal(step, "head", (8, 5), ours)
    with torch.no_grad():
        expected = plain(images(4).repeat(2, 1, 1, 1)) * (1 + 0.3 * eps)
    assert made is not None
    assert not torch.allclose(ours[:4], ours[4:])
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance(name))


def _pace(model: nn.Module, current: Pass, sigma: float = 0.6) -> pace.Regularizer:
    context = StepContext(model, current, None, nullcontext, train_samples=4, num_classes=5)
    return pace.Regularizer(pace.Params(sigma=sigma, weight=0.5), context)


@pytest.mark.parametrize("name", NAMES)
def test_steps_under_pace_lower_the_loss_and_move_what_is_trained_alone(name: str) -> None:
    model = adapted(name).train()
    before = {key: value.clone() for key, value in model.named_parameters()}
    made = _pace(model, Pass(SeededSource(0)), sigma=0.1)
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=3e-3)
    losses: list[float] = []
    for _ in range(8):  # under the same noise
        losses.append(float(made.step(Batch(images(4), torch.arange(4), torch.arange(4)), 0).terms["loss"]))
        optimizer.step()
        optimizer.zero_grad()
    assert math.isfinite(losses[-1])
    assert losses[-1] < losses[0]
    changed = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert changed <= trainable(model).keys()
    assert {key for key in changed if not key.startswith(head_prefix(model))}, "no adapter moved"


@pytest.mark.parametrize(
    ("name", "params", "count"),
    [
        ("peft:LORA", {"r": 8}, 1_179_648),
        ("peft:IA3", {}, 82_944),  # an entry for each output; as published, fc2's inputs are scaled in their place
        ("peft:LN_TUNING", {}, 38_400),
        ("peft:HRA", {"r": 8}, 516_096),
        ("peft:HIRA", {"r": 10}, 1_474_560),
        ("peft:VERA", {"r": 256}, 95_232),
    ],
)
def test_the_built_vit_b_16_trains_as_many_parameters_as_published(
    name: str, params: dict[str, object], count: int
) -> None:
    model, tuner = VisionTransformer(num_classes=100), methods.find(name)
    tuner.adapt(model, tuner.params(**params), torch.Generator())
    assert sum(p.numel() for key, p in trainable(model).items() if not key.startswith("head.")) == count


def test_peft_s_lora_and_ours_are_the_same_under_pace() -> None:
    """The same A and B under the same draws: the same loss and gradients, of two implementations of the layer."""
    theirs = stirred(adapted("peft:LORA", r=4, lora_alpha=6))
    ours = tiny_vit().eval()
    lora = methods.find("lora_add")
    lora.adapt(ours, lora.params(rank=4, alpha=6.0, bias=False), torch.Generator())
    ours = ours.double().eval()
    with torch.no_grad():
        ours.head.load_state_dict(theirs.head.state_dict())
        for name, layer in residuals(ours).items():
            peer = theirs.get_submodule(name)
            layer.low_rank.A[0].copy_(peer.lora_A["default"].weight)
            layer.low_rank.B[0].copy_(peer.lora_B["default"].weight)
    batch = Batch(images(4), torch.arange(4), torch.arange(4))
    first, second = (_pace(model, Pass(SeededSource(0))).step(batch, 2).terms for model in (theirs, ours))
    for term, value in first.items():
        torch.testing.assert_close(second[term], value, rtol=0, atol=1e-10)
    for name, layer in residuals(ours).items():
        peer = theirs.get_submodule(name)
        torch.testing.assert_close(layer.low_rank.A[0].grad, peer.lora_A["default"].weight.grad, rtol=0, atol=1e-10)
        torch.testing.assert_close(layer.low_rank.B[0].grad, peer.lora_B["default"].weight.grad, rtol=0, atol=1e-10)


def spec(**method: object) -> dict[str, object]:
    return {
        "task": {"name": "vtab-mini/digits"},
        "method": method,
        "training": {"epochs": 1, "warmup_epochs": 0.1, "schedule": "step"},
    }


def test_a_configuration_is_checked_as_any_method_s() -> None:
    assert validate(spec(name="peft:HRA", r=4)).method.params["r"] == 4
    with pytest.raises(SpecError, match=r"method.rr: peft:HRA has no parameter 'rr'; did you mean 'r'"):
        validate(spec(name="peft:HRA", rr=4))
    with pytest.raises(SpecError, match=r"there is no method 'peft:HAR'.*peft:HRA"):
        validate(spec(name="peft:HAR"))


def test_what_peft_refuses_is_told_with_its_reason() -> None:
    with pytest.raises(RunError, match=r"method: peft:C3A cannot adapt this network so: The block size should be"):
        adapted("peft:C3A", block_size=7)
    with pytest.raises(RunError, match=r"method: peft:LORA cannot adapt this network so: Target modules .*nowhere"):
        adapted("peft:LORA", target_modules=["nowhere"])
