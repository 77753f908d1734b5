"""Freezing a pretrained network and replacing its linear layers with adapted ones."""

from collections.abc import Callable

import torch
from torch import nn

from pace_core.network.parts import block_linears, head_name, head_prefix
from pace_core.network.residual import NoisedHead, ResidualLinear


def freeze(model: nn.Module, rng: torch.Generator) -> None:
    """Freezes all but the head, which begins anew (normal, std 0.02; zero bias) and may be noised as a whole."""
    model.requires_grad_(False)
    name = head_name(model)
    for linear in model.get_submodule(head_prefix(model).removesuffix(".")).modules():
        if isinstance(linear, nn.Linear):
            _begin_anew(linear, rng)
    head = model.get_submodule(name)
    assert isinstance(head, nn.Linear)
    noised = NoisedHead(head, name)
    noised.requires_grad_(True)
    model.set_submodule(name, noised)


@torch.no_grad()
def _begin_anew(linear: nn.Linear, rng: torch.Generator) -> None:
    linear.requires_grad_(True)
    linear.weight.copy_(nn.init.trunc_normal_(torch.empty(linear.weight.shape), std=0.02, generator=rng))
    if linear.bias is not None:
        linear.bias.zero_()


def adapt_linears(model: nn.Module, targets: str, layer: Callable[[nn.Linear, str], ResidualLinear]) -> None:
    """Puts `layer(linear, name)` in the place of every targeted linear layer of the blocks."""
    for name, linear in block_linears(model).items():
        if is_target(name, targets):
            assert isinstance(linear, nn.Linear)
            model.set_submodule(name, layer(linear, name))


def is_target(name: str, targets: str) -> bool:
    """Tells whether `all`, `qkv` or `q,v` includes this layer of a block; a fused qkv layer counts for both."""
    apart = ("self.query", "self.value", "self.key")
    return targets == "all" or name.endswith(("attn.qkv", *(apart if targets == "qkv" else apart[:2])))
