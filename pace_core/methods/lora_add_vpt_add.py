"""LoRA with an additive prompt."""

import torch
from torch import Tensor, nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams, PromptParams
from pace_core.methods._low_rank import LowRank, output_parts
from pace_core.methods._method import Method
from pace_core.methods._prompt import Prompt
from pace_core.network.residual import ResidualLinear


class Params(LoraParams, PromptParams):
    """dW = scale · B A, db = beta + W0 p."""


class Layer(ResidualLinear):
    """h(x) = W0 (x + p) + b0 + scale · B A x + beta."""

    def __init__(self, base: nn.Linear, name: str, params: Params, rng: torch.Generator) -> None:
        super().__init__(base, name)
        parts = output_parts(name, params.targets, self.out_features)
        self.low_rank = LowRank(base, params, rng, parts)
        self.beta = nn.Parameter(torch.zeros(self.out_features)) if params.bias else None
        self.prompt = Prompt(self.in_features, params.rank, params.prompt, rng)
        self.dropout = nn.Dropout(params.dropout)

    def delta_weight(self) -> Tensor:
        return self.low_rank.matrix()

    def delta_bias(self) -> Tensor:
        shift = self.prompt.shift(self.weight)
        return shift if self.beta is None else shift + self.beta

    def delta(self, x: Tensor) -> Tensor:
        return self.low_rank.product(self.dropout(x)) + self.delta_bias()

    def plain(self, x: Tensor) -> Tensor:
        # A full-size gradient of B A would cost more than the two thin products.
        return self.base(x) + self.delta(x)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: Layer(base, name, params, rng))


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
