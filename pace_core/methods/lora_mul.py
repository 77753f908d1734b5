"""Multiplicative LoRA: a low-rank matrix scales the pretrained weight entry by entry."""

import torch
from torch import nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams
from pace_core.methods._multiplied import MultipliedLayer

NAME = "lora_mul"
TITLE = "LoRA (multiplicative)"
PAPER = "PACE, NeurIPS 2024, section 4"
GIVES = frozenset({"delta", "merged"})
FITS = frozenset({"vit", "swin", "text"})
STARTS_PRETRAINED = True


class Params(LoraParams):
    """dW = W0 ⊙ (scale · A B), db = b0 ⊙ beta."""


PUBLISHED_COUNTS = [({"rank": 10}, 1_557_504), ({"rank": 8, "bias": False, "targets": "qkv"}, 294_912)]


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: MultipliedLayer(base, name, params, rng))
