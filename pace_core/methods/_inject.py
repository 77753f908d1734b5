"""Which layers of a vision transformer are adapted, and putting the adapted ones in their place."""

import re
from collections.abc import Callable

import torch
from torch import nn

from pace_core.methods._residual import NoisedHead, ResidualLinear

_BLOCK = re.compile(r"^(?:layers\.\d+\.)?blocks\.\d+(?=\.)")

Targets = str


def block_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer inside the blocks, adapted ones too, by timm's name, in order of depth."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | ResidualLinear) and _BLOCK.match(name)
    }


def block_of(name: str) -> str | None:
    """The block that a layer stands in: `blocks.3`, or `layers.2.blocks.5` in a Swin; None outside the blocks."""
    found = _BLOCK.match(name)
    return found.group() if found else None


def head_name(model: nn.Module) -> str:
    """timm's name of the classifier: `head`, or `head.fc` in a Swin."""
    return "head" if isinstance(model.get_submodule("head"), nn.Linear | NoisedHead) else "head.fc"


def freeze(model: nn.Module, rng: torch.Generator) -> None:
    """Freezes all but the head, which begins anew (normal, std 0.02; zero bias) and may be noised as a whole."""
    model.requires_grad_(False)
    head = model.get_submodule(head_name(model))
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(nn.init.trunc_normal_(torch.empty(head.weight.shape), std=0.02, generator=rng))
        if head.bias is not None:
            head.bias.zero_()
    noised = NoisedHead(head, head_name(model))
    noised.requires_grad_(True)
    model.set_submodule(head_name(model), noised)


def adapt_linears(model: nn.Module, targets: Targets, layer: Callable[[nn.Linear, str], ResidualLinear]) -> None:
    """Puts `layer(linear, name)` in the place of every targeted linear layer of the blocks."""
    for name, linear in block_linears(model).items():
        if targets == "all" or name.endswith("attn.qkv"):
            assert isinstance(linear, nn.Linear)
            model.set_submodule(name, layer(linear, name))
