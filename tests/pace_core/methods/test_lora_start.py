"""How LoRA's two matrices start, with the names that the paper and HF `peft` give them."""

import math

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from pace_core.methods import lora_add, lora_add_vpt_add, lora_mul, lora_mul_vpt_add
from pace_core.network.residual import residual_layers
from tests.networks import tiny_vit

RANK, WIDTH = 8, 192


def low_ranks(method, **params: object):
    model = tiny_vit(embed_dim=WIDTH)
    method.adapt(model, method.Params(rank=RANK, **params), torch.Generator().manual_seed(0))
    return {name: layer.low_rank for name, layer in residual_layers(model).items()}


@pytest.mark.parametrize("method", [lora_add, lora_mul, lora_add_vpt_add, lora_mul_vpt_add])
@pytest.mark.parametrize(
    ("init", "bound"), [("xavier", math.sqrt(6 / (WIDTH + RANK))), ("kaiming", 1 / math.sqrt(WIDTH))]
)
def test_a_is_uniform_on_the_inputs_side_and_b_is_zero_on_the_outputs(method, init: str, bound: float) -> None:
    low_rank = low_ranks(method, init=init)["blocks.0.attn.qkv"]
    assert low_rank.A[0].shape == (RANK, WIDTH)
    assert low_rank.B[0].shape == (3 * WIDTH, RANK)
    assert float(low_rank.A[0].detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert low_rank.B[0].abs().max() == 0


def test_paces_start_is_the_default() -> None:
    assert all(
        torch.equal(a.A[0], b.A[0])
        for a, b in zip(low_ranks(lora_add).values(), low_ranks(lora_add, init="xavier").values(), strict=True)
    )


def test_kaiming_is_the_start_of_peft() -> None:
    config = LoraConfig(r=RANK, target_modules=r"blocks\.\d+\.attn\.qkv")
    theirs = inject_adapter_in_model(config, tiny_vit(embed_dim=WIDTH)).blocks[0].attn.qkv.lora_A["default"].weight
    ours = low_ranks(lora_add, init="kaiming", targets="qkv")["blocks.0.attn.qkv"].A[0]
    assert ours.shape == theirs.shape
    assert float(ours.detach().abs().max()) == pytest.approx(float(theirs.detach().abs().max()), rel=0.02)


def test_with_a_normal_start_both_matrices_are_drawn_so_the_change_is_small_but_there() -> None:
    low_rank = low_ranks(lora_add, init="normal")["blocks.0.attn.qkv"]
    for factor in (low_rank.A[0], low_rank.B[0]):
        assert float(factor.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert low_rank.matrix().abs().max() > 0
