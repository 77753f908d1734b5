"""LoRA: a low-rank matrix added to the weight, and in PACE's form a vector to the bias."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import LoraParams
from pace_core.methods._low_rank import LowRank, output_parts
from pace_core.methods._method import Method
from pace_core.network.residual import ResidualLinear


class Params(LoraParams):
    """dW = scale · B A, db = beta."""


class Layer(ResidualLinear):
    """h(x) = W0 x + b0 + scale · B A x + beta."""

    def __init__(self, base: nn.Linear, name: str, params: Params, rng: torch.Generator) -> None:
        super().__init__(base, name)
        parts = output_parts(name, params.targets, self.out_features)
        self.low_rank = LowRank(base, params, rng, parts)
        self.beta = nn.Parameter(torch.zeros(self.out_features)) if params.bias else None
        self.dropout = nn.Dropout(params.dropout)

    def delta_weight(self) -> Tensor:
        return self.low_rank.matrix()

    def delta_bias(self) -> Tensor | None:
        return self.beta

    def delta(self, x: Tensor) -> Tensor:
        product = self.low_rank.product(self.dropout(x))
        return product if self.beta is None else product + self.beta

    def plain(self, x: Tensor) -> Tensor:
        # A full-size gradient of B A would cost more than the two thin products.
        bias = self.bias if self.beta is None else self.beta if self.bias is None else self.bias + self.beta
        return F.linear(x, self.weight, bias) + self.low_rank.product(self.dropout(x))

    def noised(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" or not self.low_rank.whole:
            return super().noised(x)
        # One batched product onto the base: each row has its own z ⊙ B, and beside it z ⊙ beta for an input of one.
        z = self.noise(x.new_empty(()).expand(*x.shape[:-1], self.out_features)).flatten(1)
        down, up = self.low_rank.pair()
        unused = -(len(down) + 1) % 8  # a GPU multiplies sizes that are no multiple of 8 several times slower
        beta = self.beta if self.beta is not None else up.new_zeros(len(up))
        up = torch.cat([up, beta.unsqueeze(1), up.new_zeros(len(up), unused)], dim=1)
        one = F.pad(down.new_ones(1), (len(down), unused))
        inner = F.linear(self.dropout(x), F.pad(down, (0, 0, 0, 1 + unused)), one).flatten(1, -2)
        base = self.base(x)
        by_row = z.to(base.dtype).unsqueeze(2) * up.to(base.dtype)
        return torch.baddbmm(base.flatten(1, -2), inner, by_row.mT).view_as(base)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    adapt_linears(model, params.targets, lambda base, name: Layer(base, name, params, rng))


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
