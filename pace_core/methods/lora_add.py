"""LoRA: a low-rank matrix added to the weight, and in PACE's form a vector to the bias."""

import torch
from torch import nn

from pace_core.methods._added import AddedLayer
from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams
from pace_core.methods._method import Method


class Params(LoraParams):
    """dW = scale · B A, db = beta."""


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: AddedLayer(base, name, params, rng))


METHOD = Method(
    name="lora_add",
    title="LoRA (additive)",
    doc=__doc__,
    params=Params,
    paper="Hu et al., ICLR 2022, arXiv 2106.09685; the form on every linear layer: PACE, NeurIPS 2024, section 3.1",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[
        ({"rank": 4}, 672_768),  # PACE, few-shot
        ({"rank": 10}, 1_557_504),
        ({"rank": 8, "bias": False}, 1_179_648),
        ({"rank": 8, "bias": False, "targets": "qkv"}, 294_912),  # VTAB's LoRA row (NOAH): one A for the fused qkv
        ({"rank": 8, "bias": False, "targets": "q,v", "alpha": 8.0}, 294_912),
    ],
    text_counts=[({"rank": 8, "bias": False, "targets": "q,v", "alpha": 8.0}, 294_912)],  # GLUE's form
    adapt=adapt,
)
