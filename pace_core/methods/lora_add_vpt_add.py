"""LoRA with an additive prompt."""

import torch
from torch import nn

from pace_core.methods._added import AddedLayer
from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams, PromptParams
from pace_core.methods._method import Method


class Params(LoraParams, PromptParams):
    """dW = scale · B A, db = beta + W0 p."""


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: AddedLayer(base, name, params, rng, prompted=params))


METHOD = Method(
    name="lora_add_vpt_add",
    title="LoRA (additive) + VPT (additive)",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, section 3.1 and Table 7",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[({"rank": 10}, 2_203_104), ({"rank": 10, "prompt": "vector"}, 1_622_016)],
    adapt=adapt,
)
