"""The small network that adapters are made of."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """W2 g(W1 x + b1) + b2 with `hidden` units; W2 and the biases are zero at the start, W1 uniform in ± 1/√in."""

    def __init__(
        self,
        wide: int,
        hidden: int,
        rng: torch.Generator,
        *,
        activation: Callable[[Tensor], Tensor],
        dropout: float,
        bias: bool = True,
    ) -> None:
        """dropout: share of the hidden units dropped in training."""
        super().__init__()
        bound = wide**-0.5
        self.W1 = nn.Parameter(torch.empty(hidden, wide).uniform_(-bound, bound, generator=rng))
        self.W2 = nn.Parameter(torch.zeros(wide, hidden))
        self.b1 = nn.Parameter(torch.zeros(hidden)) if bias else None
        self.b2 = nn.Parameter(torch.zeros(wide)) if bias else None
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(…, wide) → (…, wide)."""
        return F.linear(self.dropout(self.activation(F.linear(x, self.W1, self.b1))), self.W2, self.b2)
