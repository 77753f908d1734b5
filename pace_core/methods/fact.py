"""FacT: all changes of a ViT's weights as one tensor, factored: shared sides, a small core for each matrix."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import find_linears, freeze
from pace_core.methods._method import Method
from pace_core.methods._parameters import uniform
from pace_core.methods._shared import register_shared
from pace_core.network.residual import ResidualLinear
from pace_core.spec import ParamsModel, RunError


class Params(ParamsModel):
    """dW = scale · V Σ U for every square matrix of the blocks; the MLP's are four such matrices each."""

    form: Literal["tt", "tk"] = "tk"
    """tt (tensor train): each Σ is trained; tk (Tucker): Σ is a combination of the slices of one trained cube."""
    rank: int = Field(default=16, ge=1)
    """Size of Σ; the paper takes up to 16 for tt and 16 or 32 for tk."""
    scale: float = Field(default=1.0, gt=0)
    """Factor of dW; the authors search it in 0.01, 0.1, 1, 10, 100 for each task."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of Σ's outputs dropped in training."""


class Factors(nn.Module):
    """Factors shared by all matrices: U (rank, width), V (width, rank), zero at the start, and for tk the cube C."""

    def __init__(self, width: int, params: Params, rng: torch.Generator) -> None:
        super().__init__()
        rank = params.rank
        self.U = uniform((rank, width), 1 / math.sqrt(width), rng)
        self.V = nn.Parameter(torch.zeros(width, rank))
        if params.form == "tk":
            self.C = uniform((rank, rank, rank), math.sqrt(3) / rank, rng)  # Xavier


class Layer(ResidualLinear):
    """A layer of `rows` × `columns` square matrices (three rows in a fused qkv, four in fc1, four columns in fc2)."""

    factors: Factors

    def __init__(self, base: nn.Linear, name: str, width: int, matrices: int, params: Params, rng: torch.Generator):
        """matrices: the number of them in all layers together."""
        super().__init__(base, name)
        self.rows, self.columns = self.out_features // width, self.in_features // width
        self.scale, rank = params.scale, params.rank
        shape = (self.rows, self.columns, rank)
        if params.form == "tt":
            self.core = uniform((*shape, rank), 1 / math.sqrt(self.columns * rank), rng)
        else:
            self.mixing = uniform(shape, math.sqrt(6 / (matrices + rank)), rng)  # Xavier over all layers
        self.dropout = nn.Dropout(params.dropout)

    def cores(self) -> Tensor:
        """Returns Σ of every matrix, shape (rows, columns, rank, rank)."""
        return self.core if hasattr(self, "core") else torch.einsum("uvc,ijc->ijuv", self.factors.C, self.mixing)

    def delta_weight(self) -> Tensor:
        whole = torch.einsum("or,ijrs,sw->iojw", self.factors.V, self.cores(), self.factors.U)
        return self.scale * whole.reshape(self.out_features, self.in_features)

    def delta_bias(self) -> None:
        return None

    def delta(self, x: Tensor) -> Tensor:
        narrow = x.unflatten(-1, (self.columns, -1)) @ self.factors.U.t()
        mixed = self.dropout(torch.einsum("...js,ijrs->...ir", narrow, self.cores()))
        return self.scale * (mixed @ self.factors.V.t()).flatten(-2)

    def plain(self, x: Tensor) -> Tensor:
        return self.base(x) + self.delta(x)  # thin products, no gradient of a whole weight


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and adapts every linear layer of the blocks.

    Raises RunError `spec_invalid` where a layer does not consist of square matrices of the network's width.
    """
    freeze(model, rng)
    linears = find_linears(model, lambda _: True)
    width = next(iter(find_linears(model, lambda name: name.endswith("attn.qkv")).values())).in_features
    for name, linear in linears.items():
        sides = tuple(linear.weight.shape)
        if any(side % width for side in sides):
            message = f"method.name: fact cannot adapt {name} {sides}, whose sides are not multiples of {width}"
            raise RunError("spec_invalid", f"{message}; use another method, such as lora_add")
    matrices = sum(linear.weight.numel() // width**2 for linear in linears.values())
    factors = Factors(width, params, rng)
    for position, (name, linear) in enumerate(linears.items()):
        layer = Layer(linear, name, width, matrices, params, rng)
        register_shared(layer, "factors", factors, owned=position == 0)
        model.set_submodule(name, layer)


METHOD = Method(
    name="fact",
    title="FacT",
    doc=__doc__,
    params=Params,
    paper="Jie and Deng, FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer, AAAI 2023",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit"}),  # the sides are shared by the whole network, so its blocks need one width
    published_counts=[
        ({"form": "tt", "rank": 4}, 8_448),
        ({"form": "tt", "rank": 16}, 61_440),  # 0.04 M is the mean over VTAB's tasks, at ranks 4, 8 and 16
        ({"form": "tk", "rank": 16}, 30_976),  # and 0.07 M at 16 and 32
        ({"form": "tk", "rank": 32}, 86_528),
    ],
    adapt=adapt,
)
