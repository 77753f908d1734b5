"""Adapters that stand before a frozen linear layer, seen from its output: W0 (u + du) + b0 = (W0 u + b0) + W0 du."""

import torch.nn.functional as F
from torch import Tensor

from pace_core.network.residual import ResidualLinear


class InputChange(ResidualLinear):
    """A linear layer whose input a method changes by du = M u + m; noise falls on W0 du.

    A method gives `change` (with its dropout), `matrix` and `vector`.
    """

    def change(self, u: Tensor) -> Tensor:
        """Returns du of shape (…, in)."""
        raise NotImplementedError

    def matrix(self) -> Tensor:
        """Returns M of shape (in, in)."""
        raise NotImplementedError

    def vector(self) -> Tensor:
        """Returns m of shape (in,)."""
        raise NotImplementedError

    def delta_weight(self) -> Tensor:
        return self.weight @ self.matrix()

    def delta_bias(self) -> Tensor:
        return self.weight @ self.vector()

    def delta(self, x: Tensor) -> Tensor:
        return F.linear(self.change(x), self.weight)

    def plain(self, x: Tensor) -> Tensor:
        return F.linear(x + self.change(x), self.weight, self.bias)
