"""VPT in its additive form: a prompt added to a layer's input changes its bias by W0 p."""

import torch
from torch import Tensor, nn

from pace_core.methods._parameters import xavier_uniform


class Prompt(nn.Module):
    """The trained prompt p of shape (in,), zero at the start: P q with P zero and q Xavier-uniform, or plain."""

    def __init__(self, in_features: int, rank: int, form: str, rng: torch.Generator) -> None:
        super().__init__()
        self.factored = form == "factored"
        self.P = nn.Parameter(torch.zeros(in_features, rank if self.factored else 1))
        if self.factored:
            self.q = xavier_uniform((rank, 1), rng)

    def shift(self, weight: Tensor) -> Tensor:
        """Returns W0 p for a weight (out, in), shape (out,)."""
        prompt = self.P @ self.q if self.factored else self.P
        return (weight @ prompt).squeeze(-1)
