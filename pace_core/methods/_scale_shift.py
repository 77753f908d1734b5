"""A trained scale and shift on the channels of an operation's output: what SSF and RLRR share."""

import copy

import torch
from torch import Tensor, nn

from pace_core.network.residual import Residual


class ScaleShift(Residual):
    """gamma ⊙ u + beta for u = op(x); op is a LayerNorm or Conv2d that stays frozen (SSF, NeurIPS 2022).

    `scale` is gamma - 1 and `shift` is beta, so that a weight decay pulls towards the pretrained network.
    """

    def __init__(self, op: nn.LayerNorm | nn.Conv2d, name: str, rng: torch.Generator) -> None:
        super().__init__(name)
        self.op = op
        self.scale, self.shift = initial_scale_shift(op.weight.shape[0], rng)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.op(x)
        scale, shift = self._by_channel()
        return u, torch.addcmul(shift, scale, u)

    def plain(self, x: Tensor) -> Tensor:
        scale, shift = self._by_channel()
        return torch.addcmul(shift, 1 + scale, self.op(x))

    def noise(self, delta: Tensor) -> Tensor:
        assert not isinstance(self.op, nn.Conv2d), "only what stands before the blocks, which has no noise, is a Conv2d"
        return super().noise(delta)

    def plain_module(self) -> nn.Module:
        """Returns the operation with gamma and beta folded into its weight and bias."""
        folded = copy.deepcopy(self.op)
        gamma, beta = 1 + self.scale.detach(), self.shift.detach()
        weight = self.op.weight.detach()
        bias = beta if self.op.bias is None else gamma * self.op.bias.detach() + beta
        folded.weight = nn.Parameter(weight * gamma.view(-1, *[1] * (weight.dim() - 1)), requires_grad=False)
        folded.bias = nn.Parameter(bias, requires_grad=False)
        return folded

    def _by_channel(self) -> tuple[Tensor, Tensor]:
        """Returns scale and shift in the output's shape; a Conv2d's channels stand before height and width."""
        if isinstance(self.op, nn.Conv2d):
            return self.scale[:, None, None], self.shift[:, None, None]
        return self.scale, self.shift


def initial_scale_shift(channels: int, rng: torch.Generator) -> tuple[nn.Parameter, nn.Parameter]:
    """Returns scale and shift drawn from N(0, 0.02²), as in the authors' code: not the pretrained network."""
    scale, shift = (nn.Parameter(torch.empty(channels).normal_(0.0, 0.02, generator=rng)) for _ in range(2))
    return scale, shift
