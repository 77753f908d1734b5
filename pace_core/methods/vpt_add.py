"""VPT in its additive form: a prompt added to the input of every adapted layer."""

import torch
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import PromptParams, TargetParams
from pace_core.methods._method import Method
from pace_core.methods._prompt import Prompt
from pace_core.network.residual import ResidualLinear


class Params(PromptParams, TargetParams):
    """dW = 0, db = W0 p."""

    rank: int = Field(default=10, ge=1)
    """Width of the factored prompt; at most the narrower side of every adapted layer."""


class Layer(ResidualLinear):
    """h(x) = W0 (x + p) + b0."""

    def __init__(self, base: nn.Linear, name: str, params: Params, rng: torch.Generator) -> None:
        super().__init__(base, name)
        self.prompt = Prompt(self.in_features, params.rank, params.prompt, rng)

    def delta_weight(self) -> None:
        return None

    def delta_bias(self) -> Tensor:
        return self.prompt.shift(self.weight)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: Layer(base, name, params, rng))


METHOD = Method(
    name="vpt_add",
    title="VPT (additive)",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, section 3.1, after Jia et al., ECCV 2022",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[
        ({"rank": 1}, 64_560),
        ({"rank": 10}, 645_600),
        ({"prompt": "vector"}, 64_512),  # PACE, few-shot: 0.14 M with the head
    ],
    adapt=adapt,
)
