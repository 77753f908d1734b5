"""Every regularizer in the folder keeps what a regularizer promises, with every method it can work with."""

from contextlib import nullcontext
from types import ModuleType

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pace_core import methods, registry, regularizers
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers._adapter_noise import SharedDropPath
from pace_core.regularizers._step import Batch, Regularizer, Setting
from pace_core.training.optimizer import trainable

METHODS, REGULARIZERS = registry.load(methods), registry.load(regularizers)
PAIRS = [(m, r) for m in METHODS for r in REGULARIZERS if REGULARIZERS[r].NEEDS <= METHODS[m].GIVES]
NOISED = [name for name, module in REGULARIZERS.items() if "delta" in module.NEEDS]
SIZE = 6


def batch() -> Batch:
    rng = torch.Generator().manual_seed(5)
    images = torch.randn(SIZE, 3, 16, 16, generator=rng, dtype=torch.float64)
    return Batch(images, torch.arange(SIZE) % 5, torch.randperm(20, generator=rng)[:SIZE])


def network(method: ModuleType, drop_path: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    model = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=5, drop_path_rate=drop_path
    )
    params = {"rank": 3} if "rank" in method.Params.model_fields else {}
    method.adapt(model, method.Params(**params), torch.Generator().manual_seed(0))
    model.double().train()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype))
    return model


def build(module: ModuleType, model: nn.Module, micro_batch: int | None = None, **params: object) -> Regularizer:
    setting = Setting(model, Pass(SeededSource(7)), micro_batch, nullcontext, train_samples=20, num_classes=5)
    return module.Regularizer(module.Params(**params), setting)


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in trainable(model).items() if p.grad is not None}


@pytest.mark.parametrize(("method", "regularizer"), PAIRS)
def test_steps_of_every_pair_that_can_work_lower_the_loss(method: str, regularizer: str) -> None:
    model = network(METHODS[method])
    regularized = build(REGULARIZERS[regularizer], model)
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-2)
    losses: list[float] = []
    for _ in range(6):  # the same step again and again, so that the draws stay and only the weights move
        optimizer.zero_grad()
        losses.append(float(regularized.step(batch(), 1).terms["loss_classification"]))
        optimizer.step()
        regularized.after_update()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
@pytest.mark.parametrize("micro_batch", [1, 4])
@pytest.mark.parametrize("regularizer", NOISED)
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    regularizer: str, micro_batch: int, drop_path: float
) -> None:
    found = []
    for micro in (None, micro_batch):
        model = network(METHODS["lora_mul_vpt_add"], drop_path)
        done = build(REGULARIZERS[regularizer], model, micro).step(batch(), 0)
        found.append((done, gradients(model)))
    (whole, whole_grads), (parts, parts_grads) = found
    for term in whole.terms:
        torch.testing.assert_close(parts.terms[term], whole.terms[term], rtol=0, atol=1e-12)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=0, atol=1e-12)
    for name, grad in whole_grads.items():
        torch.testing.assert_close(parts_grads[name], grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("regularizer", NOISED)
def test_the_gradient_is_that_of_the_loss(regularizer: str) -> None:
    """Central differences in float64 along a random direction."""
    model = network(METHODS["lora_mul_vpt_add"], drop_path=0.3)
    regularized = build(REGULARIZERS[regularizer], model)
    state = {key: value.clone() for key, value in regularized.state_dict().items()}
    regularized.step(batch(), 0)
    rng = torch.Generator().manual_seed(9)
    direction = {n: torch.randn(p.shape, generator=rng, dtype=p.dtype) for n, p in trainable(model).items()}
    slope = sum(float((gradients(model)[n] * d).sum()) for n, d in direction.items())
    ends, eps = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for name, parameter in trainable(model).items():
                parameter.add_(sign * eps * direction[name])
        regularized.load_state_dict(state)
        ends.append(float(regularized.step(batch(), 0).terms["loss"]))
        with torch.no_grad():
            for name, parameter in trainable(model).items():
                parameter.sub_(sign * eps * direction[name])
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-5)


@pytest.mark.parametrize("regularizer", NOISED)
def test_without_noise_and_weight_it_is_plain_training(regularizer: str) -> None:
    noised, plain = network(METHODS["lora_add"]), network(METHODS["lora_add"])
    params = {"sigma": 0.0} | ({"lambda": 0.0} if "weight" in REGULARIZERS[regularizer].Params.model_fields else {})
    step = 1  # of pace_lazy_half: the step with the whole batch
    ours = build(REGULARIZERS[regularizer], noised, **params).step(batch(), step)
    theirs = build(REGULARIZERS["none"], plain).step(batch(), step)
    torch.testing.assert_close(ours.terms["loss"], theirs.terms["loss"], rtol=0, atol=1e-12)
    for name, grad in gradients(plain).items():
        torch.testing.assert_close(gradients(noised)[name], grad, rtol=0, atol=1e-12)


def test_two_draws_in_a_swin_are_independent_and_its_first_block_is_noised_too() -> None:
    torch.manual_seed(1)
    model = SwinTransformer(
        img_size=32, patch_size=4, window_size=4, embed_dim=12, depths=(1, 1), num_heads=(2, 3), num_classes=5
    )
    METHODS["lora_add"].adapt(model, METHODS["lora_add"].Params(rank=2), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.1)
    images = torch.randn(SIZE, 3, 32, 32)
    done = build(REGULARIZERS["pace"], model.train(), sigma=1.0).step(
        Batch(images, torch.arange(SIZE) % 5, torch.arange(SIZE)), 0
    )
    assert done.terms["loss_consistency"] > 0
    assert model.get_submodule("layers.0.blocks.0.attn.qkv").sigma == 1.0


def test_both_draws_of_a_sample_share_one_drop_path_mask_and_the_kept_make_up_for_the_dropped() -> None:
    current = Pass(SeededSource(0))
    layer = SharedDropPath("path", 0.5, current).train()
    with current.noised(0, 64, 2, slice(0, 64)):
        out = layer(torch.ones(128, 2, 3))
    assert torch.equal(out[:64], out[64:])
    kept = out[:64, 0, 0] > 0
    assert 0 < kept.sum() < 64
    torch.testing.assert_close(out.mean(), torch.tensor(1.0))


def test_a_mask_that_drops_every_row_is_zero_not_nan() -> None:
    class DropAll(SeededSource):
        def keep(self, step, name, samples, probability, like):
            return torch.zeros(samples)

    current = Pass(DropAll(0))
    layer = SharedDropPath("path", 0.9, current).train()
    with current.noised(0, 4, 2, slice(0, 4)):
        assert torch.equal(layer(torch.ones(8, 2)), torch.zeros(8, 2))


def test_draws_depend_on_seed_step_and_layer_only() -> None:
    like = torch.zeros(())
    draw = SeededSource(1).normal(3, "head", (4,), like)
    assert torch.equal(draw, SeededSource(1).normal(3, "head", (4,), like))
    for other in (SeededSource(2).normal(3, "head", (4,), like), SeededSource(1).normal(4, "head", (4,), like)):
        assert not torch.equal(draw, other)


def test_pace_fast_compares_with_the_logits_of_the_epoch_before() -> None:
    model = network(METHODS["lora_add"])
    fast = build(REGULARIZERS["pace_fast"], model)
    first = fast.step(batch(), 0)
    expected = first.logits.square().sum() / SIZE  # the table begins at zero
    torch.testing.assert_close(first.terms["loss_consistency"], expected)
    second = fast.step(batch(), 1)
    torch.testing.assert_close(second.terms["loss_consistency"], (second.logits - first.logits).square().sum() / SIZE)
