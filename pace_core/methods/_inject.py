"""The parts of a transformer by name, and putting adapted layers in their place.

Networks of three families: timm's ViT and Swin, and `transformers`' sequence classifiers built as BERT and RoBERTa.
"""

import re
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from pace_core.methods._residual import Noised, NoisedHead, ResidualLinear
from pace_core.spec import RunError

Family = Literal["vit", "swin", "text"]
Targets = str

_BLOCK = re.compile(r"^(?:(?:layers\.\d+\.)?blocks|\w+\.encoder\.layer)\.\d+(?=\.)")
HEADS = ("head", "head.fc", "classifier", "classifier.out_proj")


def blocks_of(model: nn.Module) -> list[str]:
    """Names of the blocks in order of depth."""
    return list(dict.fromkeys(block for name, _ in model.named_modules() if (block := block_of(name))))


def block_of(name: str) -> str | None:
    """The block that a layer stands in, such as `blocks.3`; None outside the blocks.

    A Swin's is `layers.2.blocks.5`, a RoBERTa's `roberta.encoder.layer.3`.
    """
    found = _BLOCK.match(name)
    return found.group() if found else None


def family_of(model: nn.Module) -> Family:
    """Raises RunError `spec_invalid` for a network of no known family."""
    blocks = blocks_of(model)
    if not blocks:
        known = "a ViT or Swin of timm, a BERT or RoBERTa classifier of transformers"
        raise RunError("spec_invalid", f"backbone: {type(model).__name__} has no blocks that are known; use {known}")
    return "vit" if blocks[0].startswith("blocks.") else "swin" if blocks[0].startswith("layers.") else "text"


def block_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer inside the blocks, adapted ones too, by its name in the model, in order of depth."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | ResidualLinear) and _BLOCK.match(name)
    }


def head_name(model: nn.Module) -> str:
    """Name of the layer that gives the logits: `head`, or `head.fc` in a Swin; `classifier` or its `out_proj` in text.

    Raises RunError `spec_invalid` for a network without one.
    """
    modules = dict(model.named_modules())
    for name in HEADS:
        if isinstance(modules.get(name), nn.Linear | Noised):
            return name
    raise RunError("spec_invalid", f"backbone: {type(model).__name__} has no classifier; give it one of your classes")


def head_prefix(model: nn.Module) -> str:
    """How the names of the classifier's parameters begin; a RoBERTa's has a layer before the one of the logits."""
    return f"{head_name(model).removesuffix('.out_proj')}."


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


def adapt_linears(model: nn.Module, targets: Targets, layer: Callable[[nn.Linear, str], ResidualLinear]) -> None:
    """Puts `layer(linear, name)` in the place of every targeted linear layer of the blocks."""
    for name, linear in block_linears(model).items():
        if is_target(name, targets):
            assert isinstance(linear, nn.Linear)
            model.set_submodule(name, layer(linear, name))


def is_target(name: str, targets: Targets) -> bool:
    """Whether `all`, `qkv` or `q,v` means this layer of a block; the fused one that holds q and v is meant by both."""
    apart = ("self.query", "self.value", "self.key")
    return targets == "all" or name.endswith(("attn.qkv", *(apart if targets == "qkv" else apart[:2])))
