"""Muon (Jordan et al. 2024) in float32; torch.optim.Muon computes in bfloat16, which CPUs without it emulate slowly."""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM, WEIGHT_DECAY = 0.95, 0.05
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
RMS = 0.2
"""Root mean square of an update per learning rate, that of AdamW (Liu et al. 2025, arXiv 2502.16982)."""


class Muon:
    """Nesterov momentum, orthogonalised, for matrices."""

    def __init__(self, matrices: Iterable[tuple[nn.Parameter, int]]) -> None:
        """Takes each matrix [rows, columns] with the number of matrices stacked in its rows: three for qkv."""
        self._groups: dict[tuple[int, int], list[tuple[nn.Parameter, int]]] = defaultdict(list)
        for matrix, pieces in matrices:
            rows, columns = matrix.shape[0] // pieces, matrix.shape[1]
            self._groups[min(rows, columns), max(rows, columns)].append((matrix, pieces))
        self._momenta: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Moves each matrix along its orthogonalised momentum; reads `.grad`, and leaves it as it is."""
        for (short, long), members in self._groups.items():
            updates = []
            for matrix, pieces in members:
                assert matrix.grad is not None
                momentum = self._momenta.setdefault(matrix, torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = matrix.grad.lerp(momentum, MOMENTUM).unflatten(0, (pieces, -1))
                updates.append(update if update.shape[1] == short else update.mT)
            moves = orthogonalize(torch.cat(updates)).split([pieces for _, pieces in members])
            for (matrix, pieces), move in zip(members, moves, strict=True):
                move = move if matrix.shape[0] // pieces == short else move.mT
                matrix.mul_(1 - lr * WEIGHT_DECAY).add_(move.flatten(0, 1), alpha=-lr * RMS * math.sqrt(long))


def orthogonalize(matrices: Tensor) -> Tensor:
    """Brings all singular values of matrices [n, short, long] near one, by five Newton-Schulz steps of degree five."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
