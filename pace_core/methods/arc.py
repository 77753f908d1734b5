"""ARC: before attention and MLP a bottleneck whose projection all layers share, each with a scale of its own."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import find_linears, freeze
from pace_core.methods._input_change import InputChange
from pace_core.methods._method import Method
from pace_core.methods._parameters import xavier_uniform
from pace_core.methods._shared import register_shared
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """u' = u + U diag(c) Uᵀ u + b on the normed input of attention and MLP."""

    positions: Literal["both", "att"] = "both"
    """Before attention and MLP, or before attention alone (ARC_att, which starts as the pretrained network)."""
    rank: int = Field(default=50, ge=1)
    """Columns of U."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the bottleneck dropped in training."""


class Projection(nn.Module):
    """U of shape (width, rank), shared by all layers of one position and width; up is down transposed."""

    def __init__(self, width: int, rank: int, rng: torch.Generator) -> None:
        super().__init__()
        self.U = xavier_uniform((width, rank), rng)


class Layer(InputChange):
    """h(u) = W0 (u + U diag(c) Uᵀ u + b) + b0."""

    projection: Projection

    def __init__(self, base: nn.Linear, name: str, params: Params, scale: nn.Parameter) -> None:
        super().__init__(base, name)
        self.scale = scale
        self.shift = nn.Parameter(torch.zeros(self.in_features))
        self.dropout = nn.Dropout(params.dropout)

    def change(self, u: Tensor) -> Tensor:
        U = self.projection.U
        return self.dropout((u @ U) * self.scale) @ U.t() + self.shift

    def matrix(self) -> Tensor:
        U = self.projection.U
        return (U * self.scale) @ U.t()

    def vector(self) -> Tensor:
        return self.shift


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and adapts the layers behind the blocks' norms.

    As the authors begin: c is zero before attention, Xavier-uniform before the MLP.
    """
    freeze(model, rng)
    starts: dict[str, Callable[[], nn.Parameter]] = {"attn.qkv": lambda: nn.Parameter(torch.zeros(params.rank))}
    if params.positions == "both":
        starts["mlp.fc1"] = lambda: nn.Parameter(xavier_uniform((1, params.rank), rng).detach().squeeze(0))
    projections: dict[tuple[str, int], Projection] = {}
    for name, linear in find_linears(model, lambda name: name.endswith(tuple(starts))).items():
        place = ".".join(name.split(".")[-2:])
        layer = Layer(linear, name, params, starts[place]())
        key = (place, linear.in_features)
        first = key not in projections
        if first:
            projections[key] = Projection(linear.in_features, params.rank, rng)
        register_shared(layer, "projection", projections[key], owned=first)
        model.set_submodule(name, layer)


METHOD = Method(
    name="arc",
    title="ARC",
    doc=__doc__,
    params=Params,
    paper="Dong et al., Efficient Adaptation of Large Vision Transformer via Adapter Re-Composing, NeurIPS 2023",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin"}),
    starts_pretrained=False,
    published_counts=[({}, 96_432), ({"positions": "att"}, 48_216)],
    adapt=adapt,
)
