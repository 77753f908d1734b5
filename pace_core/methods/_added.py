"""The additive LoRA layer, with or without a prompt."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods._lora_params import LoraParams, PromptParams
from pace_core.methods._low_rank import LowRank, output_parts
from pace_core.methods._prompt import Prompt
from pace_core.network.lowered import lowered
from pace_core.network.residual import ResidualLinear


class AddedLayer(ResidualLinear):
    """dW = scale · B A, db = beta, plus W0 p where there is a prompt (PACE, section 3.1)."""

    def __init__(
        self, base: nn.Linear, name: str, params: LoraParams, rng: torch.Generator, prompted: PromptParams | None = None
    ) -> None:
        super().__init__(base, name)
        self.low_rank = LowRank(base, params, rng, output_parts(base, name, params.targets))
        self.beta = nn.Parameter(torch.zeros(self.out_features)) if params.bias else None
        self.prompt = Prompt(self.in_features, params.rank, prompted.prompt, rng) if prompted else None
        self.dropout = nn.Dropout(params.dropout)

    def delta_weight(self) -> Tensor:
        return self.low_rank.matrix()

    def delta_bias(self) -> Tensor | None:
        if self.prompt is None:
            return self.beta
        shift = self.prompt.shift(lowered(self.weight))
        return shift if self.beta is None else shift + self.beta

    def delta(self, x: Tensor) -> Tensor:
        product, bias = self.low_rank.product(self.dropout(x)), self.delta_bias()
        return product if bias is None else product + bias

    def plain(self, x: Tensor) -> Tensor:
        # A full-size gradient of B A would cost more than the two thin products.
        return F.linear(x, lowered(self.weight), self.merged_bias()) + self.low_rank.product(self.dropout(x))

    def noised(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" or x.dim() < 3 or not self.low_rank.single_pair:
            return super().noised(x)
        # One batched product onto the base: each row has its own z ⊙ B, and beside it z ⊙ db for an input of one.
        z = self.output_noise(x).flatten(1)
        down, up = self.low_rank.pair()
        unused = -(len(down) + 1) % 8  # a GPU multiplies sizes that are no multiple of 8 several times slower
        bias = self.delta_bias()
        bias = up.new_zeros(len(up)) if bias is None else bias.to(up.dtype)
        up = torch.cat([up, bias.unsqueeze(1), up.new_zeros(len(up), unused)], dim=1)
        one = F.pad(down.new_ones(1), (len(down), unused))
        inner = F.linear(self.dropout(x), F.pad(down, (0, 0, 0, 1 + unused)), one).flatten(1, -2)
        base = self.base(x)
        by_row = z.to(base.dtype).unsqueeze(2) * up.to(base.dtype)
        return torch.baddbmm(base.flatten(1, -2), inner, by_row.mT).view_as(base)
