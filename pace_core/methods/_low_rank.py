"""A low-rank matrix, as the LoRA family trains it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods._lora_params import Init, LoraParams
from pace_core.methods._parameters import normal, uniform, xavier_uniform
from pace_core.spec.targets import FUSED


class LowRank(nn.Module):
    """scale · B A of shape (out, in) with A (rank, in) and B (out, rank), named as in the LoRA paper and HF `peft`.

    parts: (start, stop) ranges of the output rows, each with an A and a B of its own (q and v of a fused qkv); rows
    outside them stay zero.
    """

    def __init__(self, base: nn.Linear, params: LoraParams, rng: torch.Generator, parts: list[tuple[int, int]]) -> None:
        super().__init__()
        self.out, self.parts, self.scale = base.out_features, parts, params.scale
        pairs = [factors(params.init, params.rank, base.in_features, stop - start, rng) for start, stop in parts]
        self.A, self.B = (nn.ParameterList(side) for side in zip(*pairs, strict=True))

    def matrix(self) -> Tensor:
        """Returns the matrix, shape (out, in)."""
        return self._placed([self._scaled(b) @ a for a, b in zip(self.A, self.B, strict=True)], dim=0)

    def product(self, x: Tensor) -> Tensor:
        """Multiplies x by the transposed matrix, (…, in) → (…, out), without forming it."""
        products = [F.linear(F.linear(x, a), self._scaled(b)) for a, b in zip(self.A, self.B, strict=True)]
        return self._placed(products, dim=-1)

    @property
    def single_pair(self) -> bool:
        """Whether the matrix is of one A and one B."""
        return self.parts == [(0, self.out)]

    def pair(self) -> tuple[Tensor, Tensor]:
        """Returns A (rank, in) and scale · B (out, rank), where they are the whole matrix."""
        assert self.single_pair, "a matrix of several parts"
        return self.A[0], self._scaled(self.B[0])

    def _scaled(self, b: Tensor) -> Tensor:
        return b if self.scale == 1 else b * self.scale  # scaling B costs less than scaling the product

    def _placed(self, pieces: list[Tensor], dim: int) -> Tensor:
        if self.single_pair:
            return pieces[0]
        shape = list(pieces[0].shape)
        shape[dim] = self.out
        whole = pieces[0].new_zeros(shape)
        for piece, (start, stop) in zip(pieces, self.parts, strict=True):
            whole.narrow(dim, start, stop - start).copy_(piece)
        return whole


def factors(
    init: Init, rank: int, in_features: int, out_features: int, rng: torch.Generator
) -> tuple[nn.Parameter, nn.Parameter]:
    """Returns A (rank, in) and B (out, rank) as they begin; B is zero except under `normal`."""
    shape = (rank, in_features)
    if init == "normal":
        return normal(shape, rng), normal((out_features, rank), rng)
    a = xavier_uniform(shape, rng) if init == "xavier" else uniform(shape, in_features**-0.5, rng)
    return a, nn.Parameter(torch.zeros(out_features, rank))


def output_parts(base: nn.Linear, name: str, targets: str) -> list[tuple[int, int]]:
    """Returns the row ranges of a layer that have an A and B each: q and v of a fused qkv, else the whole layer.

    v has the last rows, as many as k before it: a third of all, unless the layer says in `value_rows` that several
    heads of q share one of v.
    """
    out: int = base.out_features
    if targets != "q,v" or not name.endswith(FUSED):
        return [(0, out)]
    rows: int = getattr(base, "value_rows", out // 3)
    return [(0, out - 2 * rows), (out - rows, out)]
