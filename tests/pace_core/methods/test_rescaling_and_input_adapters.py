"""RLRR, ARC, RepAdapter and FacT against their papers' formulas, written out with torch's own layers."""

import copy
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods import arc, fact, repadapter, rlrr
from pace_core.methods._scale_shift import ScaleShift
from pace_core.network.parts import blocks_of
from pace_core.network.residual import residual_layers, residuals
from pace_core.spec import RunError
from pace_core.training.optimizer import trainable
from tests.networks import stirred, tiny_swin, tiny_vit

WIDTH = 24


def adapted(method: ModuleType, model: nn.Module | None = None, **params: object) -> nn.Module:
    model = model or tiny_vit().double()
    method.adapt(model, method.Params(**params), torch.Generator().manual_seed(0))
    return model.double().eval()


def inputs(wide: int = WIDTH) -> Tensor:
    return torch.randn(2, 5, wide, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_rlrr_rescales_q_k_and_v_each_by_a_column_times_a_row() -> None:
    layer, x = residual_layers(stirred(adapted(rlrr)))["blocks.1.attn.qkv"], inputs()
    parts = zip(*(t.chunk(3) for t in (layer.weight, layer.bias, layer.left, layer.shift)), layer.right, strict=True)
    expected = [F.linear(x, w * (1 + torch.outer(left, right)), b + f) for w, b, left, f, right in parts]
    close(layer(x), torch.cat(expected, dim=-1))


def test_rlrr_begins_some_percent_away_from_the_pretrained_weights() -> None:
    for layer in residual_layers(adapted(rlrr, tiny_vit(embed_dim=192).double())).values():
        assert 0.03 < layer.delta_weight().norm() / layer.weight.norm() < 0.3
        assert layer.delta_bias().abs().max() == 0


@pytest.mark.parametrize(("build", "blocks"), [(tiny_vit, 2), (tiny_swin, 3)])
def test_rlrr_scales_and_shifts_behind_norms_and_patch_embedding(build: type, blocks: int) -> None:
    scaled = {name for name, part in residuals(adapted(rlrr, build())).items() if isinstance(part, ScaleShift)}
    assert {"norm", "patch_embed.proj"} < scaled
    assert sum(name.endswith((".norm1", ".norm2")) for name in scaled) == 2 * blocks == len(scaled) - 2


@pytest.mark.parametrize("build", [partial(tiny_vit, depth=3), tiny_swin])
def test_rlrr_drops_entries_of_branches_more_the_deeper_they_stand(build: Callable[[], nn.Module]) -> None:
    """Single entries, not whole samples; half of them at most, and none of them when it predicts."""
    model = adapted(rlrr, build().double(), dropout=0.5).train()
    for name, rate in zip(blocks_of(model), (0.0, 0.25, 0.5), strict=True):
        block = model.get_submodule(name)
        for branch in (block.drop_path1, block.drop_path2):
            out = branch(torch.ones(4, 50, 50, dtype=torch.float64))
            assert set(out.unique().tolist()) <= {0.0, 1 / (1 - rate)}
            assert float((out == 0).double().mean()) == pytest.approx(rate, abs=0.03)
            assert torch.equal(branch.eval()(out), out)


def test_rlrr_without_dropout_leaves_drop_path_alone() -> None:
    model = adapted(rlrr, tiny_vit(drop_path_rate=0.3).double()).train()
    assert (model.blocks[1].drop_path2(torch.ones(50, 4, 4)).flatten(1).std(dim=1) == 0).all()


def test_arc_goes_down_and_up_by_one_matrix_that_all_layers_of_a_place_share() -> None:
    layers = residual_layers(stirred(adapted(arc, rank=4)))
    assert list(layers) == [f"blocks.{i}.{place}" for i in (0, 1) for place in ("attn.qkv", "mlp.fc1")]
    first, second = layers["blocks.0.attn.qkv"], layers["blocks.1.attn.qkv"]
    assert first.projection.U is second.projection.U is not layers["blocks.1.mlp.fc1"].projection.U
    x = inputs()
    U, c, b = second.projection.U, second.scale, second.shift
    close(second(x), F.linear(x + (x @ U @ torch.diag(c)) @ U.t() + b, second.weight, second.bias))


def test_arc_before_attention_alone_starts_as_the_pretrained_network() -> None:
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    before = tiny_vit().double().eval().forward_features(images)
    close(adapted(arc, positions="att").forward_features(images), before)
    both = adapted(arc).forward_features(images)
    assert 1e-3 < (both - before).norm() / before.norm() < 0.5


def test_arc_shares_by_width_in_a_swin() -> None:
    model = adapted(arc, tiny_swin(), rank=4)
    assert sorted(n for n in trainable(model) if n.endswith("projection.U")) == [
        f"layers.{stage}.blocks.0.{place}.projection.U" for stage in (0, 1) for place in ("attn.qkv", "mlp.fc1")
    ]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_repadapter_is_two_convolutions_the_second_in_groups(groups: int) -> None:
    layer = residual_layers(stirred(adapted(repadapter, groups=groups, scale=5.0)))["blocks.1.mlp.fc1"]
    down, up = nn.Conv1d(WIDTH, 8, 1).double(), nn.Conv1d(8, WIDTH, 1, groups=groups).double()
    with torch.no_grad():
        down.weight.copy_(layer.down[..., None])
        down.bias.copy_(layer.down_bias)
        up.weight.copy_(layer.up.flatten(0, 1)[..., None])
        up.bias.copy_(layer.up_bias)
    x = inputs()
    u = x + 5.0 * up(down(x.transpose(1, 2))).transpose(1, 2)
    close(layer(x), F.linear(u, layer.weight, layer.bias))


def test_repadapter_refuses_groups_that_do_not_divide() -> None:
    with pytest.raises(RunError, match=r"method\.groups: 3 does not divide method\.width \(8\)"):
        adapted(repadapter, groups=3)
    with pytest.raises(RunError, match=r"5 does not divide blocks\.0\.attn\.qkv \(24\)"):
        adapted(repadapter, groups=5, width=5)


@pytest.mark.parametrize("form", ["tt", "tk"])
def test_fact_puts_one_core_a_square_matrix_between_shared_sides(form: str) -> None:
    layers = residual_layers(stirred(adapted(fact, form=form, rank=3, scale=2.0)))
    U, V = layers["blocks.0.attn.qkv"].factors.U, layers["blocks.0.attn.qkv"].factors.V
    number = 0
    for layer in layers.values():
        for row in range(layer.rows):
            for column in range(layer.columns):
                if form == "tt":
                    core = layer.core[row, column]
                else:
                    core = sum(c * layer.factors.C[:, :, i] for i, c in enumerate(layer.mixing[row, column]))
                block = layer.delta_weight()[row * WIDTH :, column * WIDTH :][:WIDTH, :WIDTH]
                close(block, 2.0 * V @ core @ U)
                number += 1
        x = inputs(layer.in_features)
        close(layer.delta(x), F.linear(x, layer.delta_weight()))
    assert number == 2 * 12


def test_fact_refuses_layers_that_are_not_made_of_square_matrices() -> None:
    with pytest.raises(RunError, match=r"fact cannot adapt blocks\.0\.mlp\.fc1 \(60, 24\)"):
        adapted(fact, tiny_vit(mlp_ratio=2.5).double())


@pytest.mark.parametrize("method", [arc, fact])
def test_copies_share_among_themselves_alone(method: ModuleType) -> None:
    model = stirred(adapted(method))
    copied = copy.deepcopy(model)
    assert trainable(copied).keys() == trainable(model).keys()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    before = model(images)
    with torch.no_grad():
        for parameter in trainable(copied).values():
            parameter.mul_(1.5)
    assert torch.equal(model(images), before)
    copied.load_state_dict(model.state_dict())
    assert torch.equal(copied(images), before)
