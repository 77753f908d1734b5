"""Rotations in blocks along a layer's input, by Cayley's formula of what is trained."""

import torch
from torch import Tensor


def skew(entries: Tensor, size: int) -> Tensor:
    """Returns skew-symmetric matrices (blocks, size, size), given each one's entries above the diagonal as a row."""
    above = entries.new_zeros(len(entries), size, size)
    rows, columns = torch.triu_indices(size, size, 1, device=entries.device)
    above[:, rows, columns] = entries
    return above - above.transpose(1, 2)


def cayley(angles: Tensor) -> Tensor:
    """Returns (I - S)(I + S)⁻¹ of skew-symmetric S (blocks, size, size): orthogonal, the identity for S = 0."""
    precise = angles if angles.dtype == torch.float64 else angles.float()  # there is no solver in half precision
    identity = torch.eye(precise.shape[-1], dtype=precise.dtype, device=precise.device)
    # I + S has no eigenvalue below 1, so there is nothing to check, for which a GPU's host would have to wait
    rotations, _ = torch.linalg.solve_ex(identity + precise, identity - precise, left=False)
    return rotations.to(angles.dtype)


def turned(x: Tensor, rotations: Tensor) -> Tensor:
    """Multiplies each block of x's channels (…, blocks · size) by its rotation (blocks, size, size)."""
    parts = x.unflatten(-1, rotations.shape[:2])
    return torch.einsum("...nk,nkc->...nc", parts, rotations).flatten(-2)
