"""The small network that adapters are made of, and its place behind a branch of a block."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods._parameters import normal, uniform
from pace_core.network.residual import Residual


class Bottleneck(nn.Module):
    """W2 g(W1 x + b1) + b2 with `hidden` units and biases that are zero at the start."""

    def __init__(
        self,
        width: int,
        hidden: int,
        rng: torch.Generator,
        *,
        activation: Callable[[Tensor], Tensor],
        dropout: float,
        std: float | None = None,
        bias: bool = True,
    ) -> None:
        """std: of W1 and W2 at the start; where None, W1 is uniform in ± 1/√width and W2 is zero.

        dropout: share of the hidden units dropped in training.
        """
        super().__init__()
        shapes = (hidden, width), (width, hidden)
        if std is None:
            self.W1, self.W2 = uniform(shapes[0], width**-0.5, rng), nn.Parameter(torch.zeros(shapes[1]))
        else:
            self.W1, self.W2 = (normal(shape, rng, std) for shape in shapes)
        self.b1 = nn.Parameter(torch.zeros(hidden)) if bias else None
        self.b2 = nn.Parameter(torch.zeros(width)) if bias else None
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, size: int | None = None) -> Tensor:
        """Maps (…, width) → (…, width) through the first `size` of the hidden units, or all of them."""
        b1 = None if self.b1 is None else self.b1[:size]
        hidden = self.activation(F.linear(x, self.W1[:size], b1))
        return F.linear(self.dropout(hidden), self.W2[:, :size], self.b2)


def quick_gelu(t: Tensor) -> Tensor:
    """Returns t σ(1.702 t), the activation of NOAH's adapters."""
    return t * torch.sigmoid(1.702 * t)


class BranchAdapter(Residual):
    """u + adapter(u) for the output u of a branch of a block, after the branch's drop path or dropout `op`."""

    def __init__(self, op: nn.Module, name: str, adapter: Bottleneck) -> None:
        super().__init__(name)
        self.op, self.adapter = op, adapter

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.op(x)
        return u, self.adapter(u)

    def base(self, x: Tensor) -> Tensor:
        return self.op(x)
