"""RepAdapter: a linear bottleneck before attention and MLP, grouped on the way up; it merges into what follows."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import find_linears, freeze
from pace_core.methods._input_change import InputChange
from pace_core.methods._method import Method
from pace_core.methods._parameters import xavier_uniform
from pace_core.spec import ParamsModel, RunError


class Params(ParamsModel):
    """u' = u + scale · (B (A u + a) + b) on the normed input of attention and MLP."""

    positions: Literal["block", "attn"] = "block"
    """Before attention and MLP, or before attention alone."""
    width: int = Field(default=8, ge=1)
    """Of the bottleneck."""
    groups: int = Field(default=2, ge=1)
    """Of B: each group of outputs sees its share of the bottleneck. Divides `width` and the network's width."""
    scale: float = Field(default=1.0, gt=0)
    """Factor of the adapter; the authors search it in 0.1, 0.5, 1, 5, 10 for each task."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the bottleneck dropped in training."""


class Layer(InputChange):
    """h(u) = W0 (u + scale · (B (A u + a) + b)) + b0."""

    def __init__(self, base: nn.Linear, name: str, params: Params, rng: torch.Generator) -> None:
        super().__init__(base, name)
        in_features, groups = self.in_features, params.groups
        self.scale = params.scale
        self.down = xavier_uniform((params.width, in_features), rng)
        self.down_bias = nn.Parameter(torch.zeros(params.width))
        self.up = nn.Parameter(torch.zeros(groups, in_features // groups, params.width // groups))
        self.up_bias = nn.Parameter(torch.zeros(in_features))
        self.dropout = nn.Dropout(params.dropout)

    def change(self, u: Tensor) -> Tensor:
        narrow = self.dropout(u @ self.down.t() + self.down_bias).unflatten(-1, (len(self.up), -1))
        raised = torch.einsum("...gm,gom->...go", narrow, self.up).flatten(-2)
        return self.scale * (raised + self.up_bias)

    def matrix(self) -> Tensor:
        return self.scale * (torch.block_diag(*self.up) @ self.down)

    def vector(self) -> Tensor:
        return self.scale * (torch.block_diag(*self.up) @ self.down_bias + self.up_bias)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and adapts the layers behind the blocks' norms.

    Raises RunError `spec_invalid` where the groups do not divide a width.
    """
    freeze(model, rng)
    places = ("attn.qkv", "mlp.fc1") if params.positions == "block" else ("attn.qkv",)
    for name, linear in find_linears(model, lambda name: name.endswith(places)).items():
        for width, of in ((params.width, "method.width"), (linear.in_features, name)):
            if width % params.groups:
                message = f"method.groups: {params.groups} does not divide {of} ({width}); use a divisor, such as 1"
                raise RunError("spec_invalid", message)
        model.set_submodule(name, Layer(linear, name, params, rng))


METHOD = Method(
    name="repadapter",
    title="RepAdapter",
    doc=__doc__,
    params=Params,
    paper="Luo et al., Towards Efficient Visual Adaption via Structural Re-parameterization, arXiv 2302.08106",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin"}),
    # the paper's 0.22 M and 0.11 M leave the biases out
    published_counts=[({}, 239_808), ({"positions": "attn"}, 119_904)],
    adapt=adapt,
)
