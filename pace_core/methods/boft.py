"""BOFT: the input of every layer is rotated by a product of block-diagonal factors, a butterfly; outputs are scaled.

Written here, not wrapped: without a CUDA extension that it compiles at run time `peft` computes one factor whatever is
asked for, and it forms each factor as a matrix of the input's size.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._lora_params import TargetParams
from pace_core.methods._method import Method
from pace_core.methods._rotation import cayley, skew, turned
from pace_core.network.residual import ResidualLinear
from pace_core.spec import RunError


class Params(TargetParams):
    """W = diag(1 + scale) W0 R with R the product of `factors` block-diagonal orthogonal matrices."""

    block_size: int = Field(default=4, ge=2)
    """Channels that a factor rotates together; even where there are several factors."""
    factors: int = Field(default=2, ge=1)
    """Factors of the butterfly; one alone is no butterfly, but OFT with scaled outputs (the default of HF `peft`).
    Factor i exchanges channels among 2^i neighbouring blocks, so block_size · 2^(factors - 1) divides the input of
    every adapted layer."""


class Layer(ResidualLinear):
    """h(x) = (1 + scale) ⊙ W0 R x + b0."""

    def __init__(self, base: nn.Linear, name: str, params: Params) -> None:
        super().__init__(base, name)
        self.size, blocks = params.block_size, self.in_features // params.block_size
        self.entries = nn.Parameter(torch.zeros(params.factors, blocks, self.size * (self.size - 1) // 2))
        self.scale = nn.Parameter(torch.zeros(self.out_features))

    def delta_weight(self) -> Tensor:
        # a weight has fewer rows than a batch has tokens, so it is what is rotated, not the layer's input
        rotated = self.weight
        for number in range(len(self.entries)):  # the transposed product: the first factor first
            order = exchange(self.in_features, self.size, number, rotated.device)
            back = self._rotations(number).transpose(1, 2)
            rotated = turned(rotated[:, order.argsort()], back)[:, order]
        return (1 + self.scale)[:, None] * rotated - self.weight

    def delta_bias(self) -> None:
        return None

    def _rotations(self, number: int) -> Tensor:
        return cayley(skew(self.entries[number], self.size))


def exchange(channels: int, size: int, number: int, device: torch.device) -> Tensor:
    """Returns the order of the channels in factor `number`: of 2^number blocks all left halves, then all right ones."""
    order = torch.arange(channels, device=device)
    return order if number == 0 else order.view(-1, 2**number, 2, size // 2).transpose(1, 2).flatten()


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones.

    Raises RunError `spec_invalid` where the blocks do not divide a layer's input.
    """
    freeze(model, rng)
    if params.factors > 1 and params.block_size % 2:
        message = f"method.block_size: {params.block_size} is odd, so {params.factors} factors cannot halve it"
        raise RunError("spec_invalid", f"{message}; use an even one")
    group = params.block_size * 2 ** (params.factors - 1)

    def layer(base: nn.Linear, name: str) -> Layer:
        if base.in_features % group:
            message = f"method.block_size: {params.block_size} · 2^(factors - 1) = {group} does not divide the input"
            raise RunError("spec_invalid", f"{message} of {name} ({base.in_features}); use smaller blocks or fewer")
        return Layer(base, name, params)

    adapt_linears(model, params.targets, layer)


METHOD = Method(
    name="boft",
    title="BOFT",
    doc=__doc__,
    params=Params,
    paper="Liu et al., Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization, ICLR 2024, "
    "arXiv 2311.06243",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    # of what has an effect: `peft` keeps whole blocks of which half has none, and counts 64,512 for the first
    published_counts=[({"targets": "qkv", "factors": 1}, 41_472), ({"targets": "qkv"}, 55_296)],
    adapt=adapt,
)
