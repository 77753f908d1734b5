"""Noise on adapters: where it falls, of which kind, how it changes over depth, and what all draws of a sample share."""

import pytest
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core.network.roles import put_before
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch
from pace_core.regularizers._adapter_noise import SharedDropPath, depth_sigmas, sigma_by_layer
from tests.conformance.regularized import (
    ABLATIONS,
    EXACT,
    METHODS,
    REGULARIZERS,
    SIZE,
    batch,
    build,
    network,
    pretrained,
)
from tests.networks import images, stirred, tiny_swin


def noised_layer(**params: object) -> tuple[nn.Module, Pass, Tensor]:
    model = network(METHODS["lora_add"])
    regularized = build(REGULARIZERS["noise"], model, sigma=1.2, **params)
    layer = model.get_submodule("blocks.1.mlp.fc1")
    return layer, regularized.context.current, torch.randn(SIZE, 5, 24, dtype=torch.float64)


@pytest.mark.parametrize("params", [{}, *ABLATIONS], ids=str)
def test_noise_falls_where_it_is_said_to(params: dict[str, object]) -> None:
    layer, current, x = noised_layer(**params)
    with current.noised(0, SIZE, 1, slice(0, SIZE)):
        out = layer(x)
        eps = current.normal(layer.name, 96, x).unsqueeze(1)
        z = layer.noise(layer.delta(x))
    base, delta = layer.base(x), layer.delta(x)
    if params.get("noise") != "dropout":
        EXACT(z, 1 + layer.layer_noise.sigma * eps)
    expected = base + z * delta
    if params.get("noise") == "additive":
        expected = base + delta + layer.layer_noise.sigma * eps
    elif params.get("perturb") == "output":
        expected = z * (base + delta)
    EXACT(out, expected)


def test_dropout_noise_keeps_or_drops_a_channel_for_all_tokens_and_has_the_mean_and_std_of_the_gaussian() -> None:
    layer, current, x = noised_layer(noise="dropout", depth="constant")
    kept = 1 / (1 + 1.2**2)
    draws = []
    for step in range(200):
        with current.noised(step, SIZE, 1, slice(0, SIZE)):
            draws.append(layer.noise(layer.delta(x)))
    z = torch.cat(draws)
    assert z.shape == (200 * SIZE, 1, 96)
    assert {round(value, 9) for value in z.unique().tolist()} == {0.0, round(1 / kept, 9)}
    assert float(z.mean()) == pytest.approx(1, abs=0.02)
    assert float(z.std()) == pytest.approx(1.2, abs=0.02)


def test_sigma_over_depth() -> None:
    """Of a ViT with three blocks (the first is skipped) and a Swin with three, the head being the last level."""
    assert depth_sigmas(1.2, 4, 1) == pytest.approx([0, 1.2, 0.8, 0.4])
    assert depth_sigmas(1.2, 4, 1, "constant") == pytest.approx([0, 1.2, 1.2, 1.2])
    assert depth_sigmas(1.2, 4, 1, "increasing") == pytest.approx([0, 0.4, 0.8, 1.2])
    assert depth_sigmas(1.2, 4, 0, "increasing") == pytest.approx([0.3, 0.6, 0.9, 1.2])
    by_layer = sigma_by_layer(network(METHODS["lora_add"]), 1.2, "increasing")
    assert (by_layer["blocks.0.attn.qkv"], by_layer["head"]) == pytest.approx((0, 1.2))


def test_with_three_networks_the_term_is_the_mean_over_the_three_pairs() -> None:
    model = network(METHODS["lora_add"])
    regularized = build(REGULARIZERS["pace"], model, networks=3)
    done = regularized.step(batch(), 0)
    current = regularized.context.current
    with torch.no_grad(), current.noised(0, SIZE, 3, slice(0, SIZE)):
        a, b, c = model(batch().images).chunk(3)
    pairs = [(a - b).square().sum() / SIZE, (a - c).square().sum() / SIZE, (b - c).square().sum() / SIZE]
    assert min(pairs) > 0
    EXACT(done.terms["loss_consistency"], sum(pairs) / 3)
    EXACT(done.terms["loss_classification"], F.cross_entropy(a, batch().labels))


DROPPING = [name for name, m in METHODS.items() if "delta" in m.gives and "dropout" in m.params.model_fields]


def dropping(method: str) -> nn.Module:
    model = pretrained()
    asked = {"rank": 3} if "rank" in METHODS[method].params.model_fields else {}
    METHODS[method].adapt(model, METHODS[method].params(dropout=0.5, **asked), torch.Generator().manual_seed(0))
    return stirred(model.double().train())


@pytest.mark.parametrize("method", DROPPING)
def test_draws_of_a_sample_drop_the_same_so_that_they_differ_by_noise_alone(method: str) -> None:
    model = dropping(method)
    done = build(REGULARIZERS["pace"], model, sigma=0.0).step(batch(), 0)
    assert not torch.allclose(done.logits, model.eval()(batch().images)), "nothing was dropped"
    assert float(done.terms["loss_consistency"]) < 1e-20


@pytest.mark.parametrize("method", DROPPING)
def test_what_is_dropped_does_not_depend_on_micro_batches(method: str) -> None:
    whole, parts = (build(REGULARIZERS["pace"], dropping(method), micro).step(batch(), 0) for micro in (None, 4))
    EXACT(parts.logits, whole.logits)
    EXACT(parts.terms["loss_consistency"], whole.terms["loss_consistency"])


def test_two_draws_in_a_swin_are_independent_and_its_first_block_is_noised_too() -> None:
    model = tiny_swin()
    METHODS["lora_add"].adapt(model, METHODS["lora_add"].params(rank=2), torch.Generator().manual_seed(0))
    batch = Batch(images(SIZE, 32).float(), torch.arange(SIZE) % 5, torch.arange(SIZE))
    done = build(REGULARIZERS["pace"], stirred(model).train(), sigma=1.0).step(batch, 0)
    assert done.terms["loss_consistency"] > 0
    assert model.get_submodule("layers.0.blocks.0.attn.qkv").layer_noise.sigma == 1.0


def shared_drop_path(rate: float, current: Pass) -> nn.Module:
    layer = DropPath(rate).train()
    put_before(layer, SharedDropPath, name="path", current=current)
    return layer


def test_both_draws_of_a_sample_share_one_drop_path_mask_and_the_kept_make_up_for_the_dropped() -> None:
    current = Pass(SeededSource(0))
    layer = shared_drop_path(0.5, current)
    with current.noised(0, 64, 2, slice(0, 64)):
        out = layer(torch.ones(128, 2, 3))
    assert torch.equal(out[:64], out[64:])
    kept = out[:64, 0, 0] > 0
    assert 0 < kept.sum() < 64
    torch.testing.assert_close(out.mean(), torch.tensor(1.0))


def test_a_mask_that_drops_every_row_is_zero_not_nan() -> None:
    class DropAll(SeededSource):
        def bernoulli(self, step, name, samples, probability, like):
            return torch.zeros(samples)

    current = Pass(DropAll(0))
    layer = shared_drop_path(0.9, current)
    with current.noised(0, 4, 2, slice(0, 4)):
        assert torch.equal(layer(torch.ones(8, 2)), torch.zeros(8, 2))


def test_draws_depend_on_seed_step_and_layer_only() -> None:
    like = torch.zeros(())
    draw = SeededSource(1).normal(3, "head", (4,), like)
    assert torch.equal(draw, SeededSource(1).normal(3, "head", (4,), like))
    for other in (SeededSource(2).normal(3, "head", (4,), like), SeededSource(1).normal(4, "head", (4,), like)):
        assert not torch.equal(draw, other)
