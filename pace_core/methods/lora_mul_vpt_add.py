"""Multiplicative LoRA with an additive prompt: the method PACE builds on."""

import torch
from torch import nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams, PromptParams
from pace_core.methods._method import Method
from pace_core.methods._multiplied import MultipliedLayer
from pace_core.methods._prompt import Prompt


class Params(LoraParams, PromptParams):
    """dW = W0 ⊙ (scale · B A), db = b0 ⊙ beta + W0 p."""


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)

    def layer(base: nn.Linear, name: str) -> MultipliedLayer:
        prompt = Prompt(base.in_features, params.rank, params.prompt, rng)
        return MultipliedLayer(base, name, params, rng, prompt)

    adapt_linears(model, params.targets, layer)


METHOD = Method(
    name="lora_mul_vpt_add",
    title="LoRA (multiplicative) + VPT (additive)",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, sections 3.1 and 4",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[
        ({"rank": 4}, 931_008),
        ({"rank": 10}, 2_203_104),
        ({"rank": 14}, 3_051_168),
        ({"rank": 18}, 3_899_232),
        ({"rank": 10, "prompt": "vector"}, 1_622_016),  # PACE, Table 19: 2.39 M with a head of 1,000 classes
    ],
    adapt=adapt,
)
