"""Multiplicative LoRA: a low-rank matrix scales the pretrained weight entry by entry."""

import torch
from torch import nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams
from pace_core.methods._method import Method
from pace_core.methods._multiplied import MultipliedLayer


class Params(LoraParams):
    """dW = W0 ⊙ (scale · B A), db = b0 ⊙ beta."""


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: MultipliedLayer(base, name, params, rng))


METHOD = Method(
    name="lora_mul",
    title="LoRA (multiplicative)",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, section 3.1",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[({"rank": 10}, 1_557_504), ({"rank": 8, "bias": False, "targets": "qkv"}, 294_912)],
    adapt=adapt,
)
