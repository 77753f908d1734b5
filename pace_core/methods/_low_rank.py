"""A low-rank matrix, as the LoRA family trains it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods._parameters import xavier_uniform


class LowRank(nn.Module):
    """scale · A B of shape (out, in): A zero at the start, B Xavier-uniform; on row ranges where `parts` says so.

    parts: (start, stop) ranges of the output rows, each with an A and a B of its own (q and v of a fused qkv); rows
    outside them stay zero.
    """

    def __init__(
        self, out: int, wide: int, rank: int, rng: torch.Generator, parts: list[tuple[int, int]], scale: float
    ) -> None:
        super().__init__()
        self.out, self.parts, self.scale = out, parts, scale
        self.A = nn.ParameterList([nn.Parameter(torch.zeros(stop - start, rank)) for start, stop in parts])
        self.B = nn.ParameterList([xavier_uniform((rank, wide), rng) for _ in parts])

    def matrix(self) -> Tensor:
        """The whole matrix, shape (out, in)."""
        return self._placed([self._scaled(a) @ b for a, b in zip(self.A, self.B, strict=True)], dim=0)

    def product(self, x: Tensor) -> Tensor:
        """x times the matrix transposed, (…, in) → (…, out), without forming it."""
        products = [F.linear(F.linear(x, b), self._scaled(a)) for a, b in zip(self.A, self.B, strict=True)]
        return self._placed(products, dim=-1)

    def _scaled(self, a: Tensor) -> Tensor:
        return a if self.scale == 1 else a * self.scale  # scaling A, the smallest of the tensors, costs least

    def _placed(self, pieces: list[Tensor], dim: int) -> Tensor:
        if self.parts == [(0, self.out)]:
            return pieces[0]
        shape = list(pieces[0].shape)
        shape[dim] = self.out
        whole = pieces[0].new_zeros(shape)
        for piece, (start, stop) in zip(pieces, self.parts, strict=True):
            whole.narrow(dim, start, stop - start).copy_(piece)
        return whole


def output_parts(name: str, targets: str, out: int) -> list[tuple[int, int]]:
    """Row ranges of a layer with an A and B of their own: q and v of a fused qkv, else the whole layer."""
    third = out // 3
    return [(0, third), (2 * third, out)] if targets == "q,v" and name.endswith("qkv") else [(0, out)]
