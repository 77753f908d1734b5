"""Noise on one layer's output: how strong it is, of which kind, and from which pass it is drawn."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pace_core.noise import Pass

NoiseKind = Literal["multiplicative", "additive", "dropout"]


@dataclass(frozen=True)
class LayerNoise:
    """The noise of one layer, by default the factor z = 1 + sigma · eps on what its adapter adds (PACE, eq. 11).

    name: of the layer; with the step it seeds the draws.
    perturbs_output: whether the noise is applied to the whole output, the pretrained part included.
    """

    name: str
    sigma: float
    current: Pass
    kind: NoiseKind = "multiplicative"
    perturbs_output: bool = False

    def factor(self, delta: Tensor) -> Tensor:
        """Draws the factor z for the adapter's output: one value per sample and channel, shared by the sample's tokens.

        delta: (rows, …, channels), with one or more rows per sample (a Swin's windows are rows). z is Gaussian, or
        for dropout 0 or 1 / q with q = 1 / (1 + sigma²), which has the same mean and std.
        """
        if self.kind == "dropout":
            probability = 1 / (1 + self.sigma**2)
            mask = self.current.channel_mask(self.name, delta.shape[-1], probability, delta)
            return _by_row(mask, delta) / probability
        return 1 + self.sigma * self._eps(delta)

    def perturb(self, output: Tensor) -> Tensor:
        """Applies noise to the whole output: z ⊙ output, or output + sigma · eps for additive noise."""
        if self.kind == "additive":
            return output + self.sigma * self._eps(output)
        return self.factor(output) * output

    def _eps(self, output: Tensor) -> Tensor:
        return _by_row(self.current.normal(self.name, output.shape[-1], output), output)


def _by_row(draws: Tensor, output: Tensor) -> Tensor:
    """Repeats and reshapes draws (samples, channels) so that they broadcast over the output's rows."""
    if output.shape[0] != draws.shape[0]:
        draws = draws.repeat_interleave(output.shape[0] // draws.shape[0], dim=0)
    return draws.view(draws.shape[0], *[1] * (output.dim() - 2), draws.shape[1])
