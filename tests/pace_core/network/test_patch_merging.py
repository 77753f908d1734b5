"""A Swin's patch merging is adapted and noised like the first block of its stage, as in PACE's code."""

import pytest
import timm
import torch
from torch import nn

from pace_core import methods
from pace_core.adapters import merge
from pace_core.network.parts import block_of, blocks_of
from pace_core.network.residual import residuals
from pace_core.regularizers._adapter_noise import sigma_by_layer
from tests.networks import images, stirred, tiny_swin

REDUCTION = "layers.1.downsample.reduction"
ALL_LINEARS = (
    "lora_add",
    "lora_mul",
    "vpt_add",
    "lora_add_vpt_add",
    "lora_mul_vpt_add",
    "coft",
    "boft",
    "glora",
    "rlrr",
)
OF_PEFT = ("peft:LORA", "peft:IA3", "peft:HRA")


def adapted(name: str, model: nn.Module | None = None) -> nn.Module:
    method, model = methods.find(name), model or tiny_swin()
    asked = {"rank": 3} if "rank" in method.params.model_fields else {}
    asked |= {"targets": "all"} if "targets" in method.params.model_fields else {}
    method.adapt(model, method.params(**asked), torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("name", [*ALL_LINEARS, "vera", "ssf", *OF_PEFT])
def test_it_is_adapted_under_the_noise_of_the_first_block_of_its_stage(name: str) -> None:
    model = adapted(name)
    found = {layer: module for layer, module in residuals(model).items() if layer.startswith("layers.1.downsample.")}
    assert REDUCTION in found
    sigmas = sigma_by_layer(model, 1.2)
    first = sigmas["layers.1.blocks.0.attn.qkv"]
    assert first == pytest.approx(0.9)  # three blocks and the head: 1.2 · 4/4, 3/4, 2/4 and 1/4
    assert {sigmas[layer] for layer in found} == {first}


@pytest.mark.parametrize("name", [*ALL_LINEARS, "vera", "ssf", "peft:LORA", "peft:OFT", "peft:GRALORA"])
def test_it_computes_base_and_delta_and_merges(name: str) -> None:
    model = stirred(adapted(name).double()).eval()
    layer = model.get_submodule(REDUCTION)
    x = torch.randn(2, 3, 3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), layer.base(x) + layer.delta(x), rtol=0, atol=1e-10)
    before = model(images(2, 32)).detach()
    torch.testing.assert_close(merge(model)(images(2, 32)), before, rtol=0, atol=1e-10)


def test_a_swin_b_has_as_many_adapters_as_paces_code_puts_into_it() -> None:
    """Every linear layer but the head, at rank 10: factors of weight and prompt, and a change of the bias."""
    with torch.device("meta"):
        model = timm.create_model("swin_base_patch4_window7_224", num_classes=0)
        linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
        expected = sum(
            10 * (m.out_features + 2 * m.in_features + 1) + m.out_features * (m.bias is not None) for m in linears
        )
        model.reset_classifier(100)
        method = methods.find("lora_mul_vpt_add")
        method.adapt(model, method.params(rank=10), torch.Generator())
    trained = sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and not name.startswith("head."))
    assert len(linears) == 24 * 4 + 3
    assert trained == expected


def test_a_stage_is_not_another_block() -> None:
    assert block_of("layers.2.downsample.reduction") == "layers.2.blocks.0"
    assert blocks_of(tiny_swin()) == ["layers.0.blocks.0", "layers.1.blocks.0", "layers.1.blocks.1"]
