"""The multiplicative LoRA layer, with or without a prompt."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods._lora_params import LoraParams
from pace_core.methods._low_rank import LowRank, output_parts
from pace_core.methods._prompt import Prompt
from pace_core.network.lowered import lowered
from pace_core.network.noised_product import noised_product
from pace_core.network.residual import ResidualLinear


class MultipliedLayer(ResidualLinear):
    """dW = W0 ⊙ scale · B A, db = b0 ⊙ beta, plus W0 p where there is a prompt (PACE, section 3.1)."""

    def __init__(
        self, base: nn.Linear, name: str, params: LoraParams, rng: torch.Generator, prompt: Prompt | None = None
    ) -> None:
        super().__init__(base, name)
        parts = output_parts(base, name, params.targets)
        self.low_rank = LowRank(base, params, rng, parts)
        trains_bias = params.bias and self.bias is not None
        self.beta = nn.Parameter(torch.zeros(self.out_features)) if trains_bias else None
        self.prompt = prompt
        self.dropout = nn.Dropout(params.dropout)

    def delta_weight(self) -> Tensor:
        return lowered(self.weight) * self.low_rank.matrix()

    def delta_bias(self) -> Tensor | None:
        scaled = None if self.beta is None else self.bias * self.beta
        if self.prompt is None:
            return scaled
        shift = self.prompt.shift(lowered(self.weight))
        return shift if scaled is None else scaled + shift

    def delta(self, x: Tensor) -> Tensor:
        return super().delta(self.dropout(x))

    def plain(self, x: Tensor) -> Tensor:
        if self.training and self.dropout.p > 0:  # dropout is the adapter's alone, so the products stay apart
            return self.base(x) + self.delta(x)
        weight = lowered(self.weight)
        return F.linear(x, torch.addcmul(weight, weight, self.low_rank.matrix()), self.merged_bias())

    def noised(self, x: Tensor) -> Tensor:
        z = self.output_noise(x)
        drops = self.training and self.dropout.p > 0
        one_row_a_sample = x.dim() == 3 and len(z) == len(x)
        if not one_row_a_sample or drops or (x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().noised(x)
        z, delta = z.flatten(1), self.delta_bias()
        bias = torch.zeros_like(z) if self.bias is None else self.bias.expand_as(z)
        bias = bias if delta is None else torch.addcmul(bias, z, delta)
        return noised_product(x, lowered(self.weight), bias, self.delta_weight(), z)
