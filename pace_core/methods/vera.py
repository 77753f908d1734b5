"""VeRA: random matrices that all layers share stay frozen; each layer trains a scale for either side.

Written here, not wrapped: `peft` reads a fused qkv as one matrix only, and says base + change as one number.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import find_linears, freeze
from pace_core.methods._lora_params import TargetParams
from pace_core.methods._low_rank import output_parts
from pace_core.methods._method import Method
from pace_core.methods._shared import register_shared
from pace_core.network.residual import ResidualLinear
from pace_core.spec.targets import is_target


class Params(TargetParams):
    """dW = diag(b) B diag(d) A."""

    targets: Literal["all", "qkv", "q,v"] = "q,v"
    """Adapted layers: q and v apart (the paper), the fused qkv as one, or every linear of a block."""
    rank: int = Field(default=256, ge=1, json_schema_extra={"above_width": True})
    """Rows of A, more than the layer is wide if asked: the paper takes 256 for ViT-B and 1,024 for RoBERTa-base."""
    d_initial: float = Field(default=0.1, gt=0)
    """Start of d; b starts at zero."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs dropped in training."""
    projection_seed: int = Field(default=0, ge=0)
    """Of A and B, which are drawn again where the adapter is used instead of being saved."""


class Projections(nn.Module):
    """A (rank, widest input) and B (widest output, rank), Kaiming-uniform; a narrower layer takes the leading part."""

    A: Tensor
    B: Tensor

    def __init__(self, in_features: int, out_features: int, params: Params) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(params.projection_seed)
        for name, shape in (("A", (params.rank, in_features)), ("B", (out_features, params.rank))):
            bound = math.sqrt(6 / shape[1])
            self.register_buffer(name, torch.empty(shape).uniform_(-bound, bound, generator=rng), persistent=False)


class Layer(ResidualLinear):
    """h(x) = W0 x + b0 + b ⊙ B (d ⊙ A x); on row ranges with a d each where q and v stand apart."""

    projections: Projections

    def __init__(self, base: nn.Linear, name: str, params: Params, parts: list[tuple[int, int]]) -> None:
        super().__init__(base, name)
        self.parts_of_rows = parts
        self.d = nn.ParameterList([nn.Parameter(torch.full((params.rank,), params.d_initial)) for _ in parts])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(stop - start)) for start, stop in parts])
        self.dropout = nn.Dropout(params.dropout)

    def delta_weight(self) -> Tensor:
        A = self.projections.A[:, : self.in_features]
        whole = torch.zeros_like(self.weight)
        for d, b, (start, stop) in zip(self.d, self.b, self.parts_of_rows, strict=True):
            whole[start:stop] = b[:, None] * self.projections.B[: stop - start] @ (d[:, None] * A)
        return whole

    def delta_bias(self) -> None:
        return None

    def delta(self, x: Tensor) -> Tensor:
        narrow = F.linear(self.dropout(x), self.projections.A[:, : self.in_features])
        whole = narrow.new_zeros(*x.shape[:-1], self.out_features)
        for d, b, (start, stop) in zip(self.d, self.b, self.parts_of_rows, strict=True):
            whole[..., start:stop] = b * F.linear(d * narrow, self.projections.B[: stop - start])
        return whole

    def plain(self, x: Tensor) -> Tensor:
        return self.base(x) + self.delta(x)  # thin products, no gradient of a whole weight


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapted layers in the place of the targeted ones."""
    freeze(model, rng)
    layers = find_linears(model, lambda name: is_target(name, params.targets))
    parts = {name: output_parts(linear, name, params.targets) for name, linear in layers.items()}
    in_features = max(linear.in_features for linear in layers.values())
    out_features = max(stop - start for ranges in parts.values() for start, stop in ranges)
    projections = Projections(in_features, out_features, params)
    for position, (name, linear) in enumerate(layers.items()):
        layer = Layer(linear, name, params, parts[name])
        register_shared(layer, "projections", projections, owned=position == 0)
        model.set_submodule(name, layer)


METHOD = Method(
    name="vera",
    title="VeRA",
    doc=__doc__,
    params=Params,
    paper="Kopiczko, Blankevoort, Asano, ICLR 2024, arXiv 2310.11454",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[
        ({}, 24_576),
        ({"rank": 1024}, 43_008),  # RoBERTa-base has the same q and v: 0.043 M
        ({"targets": "qkv"}, 30_720),
        ({"targets": "all"}, 95_232),
    ],
    adapt=adapt,
)
