"""AdaptFormer: an adapter beside each MLP, scaled down."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from pace_core.methods._bottleneck import Bottleneck
from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.network.parts import blocks_of
from pace_core.network.residual import Residual
from pace_core.spec import ParamsModel, RunError


class Params(ParamsModel):
    """MLP(norm(x)) + scale · (W2 ReLU(W1 x + b1) + b2)."""

    width: int = Field(default=64, ge=1)
    """Hidden units of an adapter: 64 in the paper, 8 in VTAB's row."""
    scale: float = Field(default=0.1, gt=0)
    """Factor of the adapter's output; VTAB's row tries 0.01, 0.1, 1, 10 and 100."""
    bias: bool = True
    """Whether the adapter has biases; VTAB's row has none."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the hidden units dropped in training."""


class ParallelMlp(Residual):
    """drop_path(mlp(norm(x))) + scale · adapter(x): drop path drops the MLP alone, as in the authors' code."""

    def __init__(self, block: Any, name: str, params: Params, rng: torch.Generator) -> None:
        super().__init__(name)
        scaled = getattr(block, "ls2", nn.Identity())  # a Swin's blocks have no LayerScale
        self.branch = nn.Sequential(block.norm2, block.mlp, scaled, block.drop_path2)
        width, self.scale = block.norm2.weight.shape[0], params.scale
        self.adapter = Bottleneck(width, params.width, rng, activation=F.relu, dropout=params.dropout, bias=params.bias)

    def base(self, x: Tensor) -> Tensor:
        return self.branch(x)

    def delta(self, x: Tensor) -> Tensor:
        return self.scale * self.adapter(x)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.base(x), self.delta(x)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapters beside its MLPs.

    Raises RunError `spec_invalid` for blocks whose MLP does not stand behind a norm of its own.
    """
    freeze(model, rng)
    for name in blocks_of(model):
        block = model.get_submodule(name)
        if not isinstance(block, Block | SwinTransformerBlock):
            message = f"adaptformer needs blocks with a norm before the MLP; {type(block).__name__} has none"
            raise RunError("spec_invalid", f"method.name: {message}")
        block.mlp = ParallelMlp(block, f"{name}.mlp", params, rng)
        for place in ("norm2", "ls2", "drop_path2"):
            setattr(block, place, nn.Identity())


METHOD = Method(
    name="adaptformer",
    title="AdaptFormer",
    doc=__doc__,
    params=Params,
    paper="Chen et al., NeurIPS 2022, arXiv 2205.13535",
    gives=frozenset({"delta"}),
    fits=frozenset({"vit", "swin"}),
    published_counts=[
        ({}, 1_189_632),  # 1.19 M
        ({"width": 8}, 156_768),  # 0.16 M
        ({"width": 8, "bias": False}, 147_456),
    ],
    adapt=adapt,
)
