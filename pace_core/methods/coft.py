"""COFT: the input of every layer is rotated in blocks of channels, by no more than a bound.

Written here, not wrapped: a wrapped layer of `peft` could tell base and change apart only by a third product, and reads
the bound as a number that leaves nothing to train; the rotation is a few lines.
"""

import math

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
    """W = W0 R with R block-diagonal and orthogonal, R = (I - S)(I + S)⁻¹ for skew-symmetric S."""

    blocks: int = Field(default=4, ge=1)
    """Blocks of channels that are rotated apart, 4 as in the authors' code; a layer whose input they do not divide has
    the next higher number that does."""
    block_size: int | None = Field(default=None, ge=2)
    """In place of `blocks`: channels that are rotated together, as in HF `peft`; the next divisor below where they do
    not divide a layer's input."""
    eps: float = Field(default=6e-5, gt=0)
    """The norm of each block's S stays below eps · size² / sqrt(blocks) for blocks of `size` channels, as in the
    authors' code: R may leave the identity by 16 % of its norm where 768 channels have 4 blocks, by 0.4 % where they
    have 24."""


class Layer(ResidualLinear):
    """h(x) = W0 R x + b0."""

    def __init__(self, base: nn.Linear, name: str, params: Params) -> None:
        super().__init__(base, name)
        self.size = divisor(self.in_features, params.block_size or max(self.in_features // params.blocks, 1))
        blocks = self.in_features // self.size
        self.bound = params.eps * self.size**2 / math.sqrt(blocks)
        self.entries = nn.Parameter(torch.zeros(blocks, self.size * (self.size - 1) // 2))

    def rotations(self) -> Tensor:
        """Returns Rᵀ of every block; entries beyond the bound are projected onto it, as the authors do."""
        with torch.no_grad():
            norms = self.entries.norm(dim=1, keepdim=True) * math.sqrt(2)  # every entry stands in S twice
            inside = self.entries * (self.bound / norms).clamp(max=1)
            if self.training:
                self.entries.data.copy_(inside)
        return cayley(skew(self.entries + (inside - self.entries).detach(), self.size))

    def delta_weight(self) -> Tensor:
        # a weight has fewer rows than a batch has tokens, so it is what is rotated, not the layer's input
        return turned(self.weight, self.rotations().transpose(1, 2)) - self.weight

    def delta_bias(self) -> None:
        return None


def divisor(number: int, at_most: int) -> int:
    """Returns the largest divisor of a number up to a limit."""
    return next(size for size in range(min(at_most, number), 0, -1) if number % size == 0)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones.

    Raises RunError `spec_invalid` where the blocks of a layer would have one channel each, which nothing can rotate.
    """
    freeze(model, rng)

    def layer(base: nn.Linear, name: str) -> Layer:
        made = Layer(base, name, params)
        if made.size == 1:
            field = "blocks" if params.block_size is None else "block_size"
            message = f"method.{field}: {getattr(params, field)} leaves blocks of one channel in {name}"
            raise RunError(
                "spec_invalid", f"{message}, whose {base.in_features} inputs have no such divisor; change it"
            )
        return made

    adapt_linears(model, params.targets, layer)


METHOD = Method(
    name="coft",
    title="COFT",
    doc=__doc__,
    params=Params,
    paper="Qiu et al., Controlling Text-to-Image Diffusion by Orthogonal Finetuning, NeurIPS 2023, arXiv 2306.07280",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[  # 999,936 and 142,848 are those of `peft`'s OFT with the same blocks
        ({}, 16_777_728),
        ({"block_size": 32}, 999_936),
        ({"block_size": 32, "targets": "qkv"}, 142_848),
    ],
    adapt=adapt,
)
