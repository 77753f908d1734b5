"""A trained scale and shift on the channels of an operation's output: what SSF and RLRR share."""

import copy

import torch
from torch import Tensor, nn

from pace_core.network.residual import Residual


class ScaleShift(Residual):
    """gamma ⊙ u + beta for u = op(x); op is a LayerNorm or Conv2d that stays frozen (SSF, NeurIPS 2022, eq. 2)."""

    def __init__(self, op: nn.LayerNorm | nn.Conv2d, name: str, rng: torch.Generator) -> None:
        super().__init__(name)
        self.op = op
        self.gamma, self.beta = start(op.weight.shape[0], rng)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.op(x)
        gamma, beta = self._by_channel()
        return u, torch.addcmul(beta, gamma - 1, u)

    def plain(self, x: Tensor) -> Tensor:
        gamma, beta = self._by_channel()
        return torch.addcmul(beta, gamma, self.op(x))

    def noise(self, delta: Tensor) -> Tensor:
        assert not isinstance(self.op, nn.Conv2d), "only what stands before the blocks, which has no noise, is a Conv2d"
        return super().noise(delta)

    def plain_module(self) -> nn.Module:
        """The operation with gamma and beta folded into its weight and bias."""
        folded = copy.deepcopy(self.op)
        gamma, beta = self.gamma.detach(), self.beta.detach()
        weight = self.op.weight.detach()
        bias = beta if self.op.bias is None else gamma * self.op.bias.detach() + beta
        folded.weight = nn.Parameter(weight * gamma.view(-1, *[1] * (weight.dim() - 1)), requires_grad=False)
        folded.bias = nn.Parameter(bias, requires_grad=False)
        return folded

    def _by_channel(self) -> tuple[Tensor, Tensor]:
        """gamma and beta as they multiply the output; a Conv2d's channels stand before height and width."""
        if isinstance(self.op, nn.Conv2d):
            return self.gamma[:, None, None], self.beta[:, None, None]
        return self.gamma, self.beta


def start(channels: int, rng: torch.Generator) -> tuple[nn.Parameter, nn.Parameter]:
    """gamma ~ N(1, 0.02²) and beta ~ N(0, 0.02²), as in the paper: not the pretrained network."""
    gamma, beta = (torch.empty(channels).normal_(mean, 0.02, generator=rng) for mean in (1.0, 0.0))
    return nn.Parameter(gamma), nn.Parameter(beta)
