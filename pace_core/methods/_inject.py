"""Freezing a pretrained network and replacing its linear layers with adapted ones."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from pace_core.network.parts import block_linears, blocks_of, has_new_head, head_name, head_prefix
from pace_core.network.residual import NoisedHead, ResidualLinear
from pace_core.spec import RunError
from pace_core.spec.targets import is_target


def freeze(model: nn.Module, rng: torch.Generator) -> None:
    """Freezes all but a new head, which begins anew (normal, std 0.02; zero bias) and may be noised as a whole."""
    model.requires_grad_(False)
    if not has_new_head(model):
        return
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
    """Puts `layer(linear, name)` in the place of every targeted linear layer of the blocks.

    Raises RunError `spec_invalid` where there is none.
    """
    for name, linear in find_linears(model, partial(is_target, targets=targets)).items():
        model.set_submodule(name, layer(linear, name))


def find_linears(model: nn.Module, wanted: Callable[[str], bool]) -> dict[str, nn.Linear]:
    """Returns the linear layers of the blocks whose names are wanted. Raises RunError `spec_invalid` if none is.

    A method that adapts no layer would train the classifier alone, and nobody would notice.
    """
    linears = block_linears(model)
    found = {name: linear for name, linear in linears.items() if isinstance(linear, nn.Linear) and wanted(name)}
    if not found:
        block = blocks_of(model)[0]
        names = ", ".join(name.removeprefix(f"{block}.") for name in linears if name.startswith(f"{block}."))
        message = f"method: it has no layer to adapt in blocks such as {type(model.get_submodule(block)).__name__}"
        raise RunError("spec_invalid", f"{message}, whose layers are {names}; use lora_add with targets: all")
    return found
