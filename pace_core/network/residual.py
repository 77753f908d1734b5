"""The common form of what a method adapts: the pretrained part plus a change that can be seen apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.noise import Pass

NoiseKind = Literal["multiplicative", "additive", "dropout"]


class Noised(nn.Module):
    """A module whose trained part can be multiplied by z = 1 + sigma · eps (PACE, eq. 11), or noised otherwise."""

    sigma = 0.0
    current: Pass | None = None
    kind: NoiseKind = "multiplicative"
    perturbs_output = False
    """Whether the noise is applied to the whole output, the pretrained part included."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @property
    def noisy(self) -> bool:
        """Whether the pass under way perturbs this module."""
        return self.sigma > 0 and self.current is not None and self.current.noisy

    def noise(self, delta: Tensor) -> Tensor:
        """The factor z for the adapter's output: one draw per sample and channel, shared by the sample's tokens.

        delta: (rows, …, channels), where rows is a multiple of the samples (Swin's windows stand as rows). Gaussian, or
        for dropout 0 or 1 / q with q = 1 / (1 + sigma²), which has the same mean and std.
        """
        assert self.current is not None
        if self.kind == "dropout":
            probability = 1 / (1 + self.sigma**2)
            mask = self.current.channel_mask(self.name, delta.shape[-1], probability, delta)
            return self._by_row(mask, delta) / probability
        return 1 + self.sigma * self._by_row(self.current.normal(self.name, delta.shape[-1], delta), delta)

    def perturb(self, output: Tensor) -> Tensor:
        """All of the output under noise: z ⊙ output, or output + sigma · eps where the noise is additive."""
        if self.kind != "additive":
            return self.noise(output) * output
        assert self.current is not None
        return output + self.sigma * self._by_row(self.current.normal(self.name, output.shape[-1], output), output)

    @staticmethod
    def _by_row(draws: Tensor, output: Tensor) -> Tensor:
        """Draws (samples, channels) as they multiply the output's rows."""
        if output.shape[0] != draws.shape[0]:
            draws = draws.repeat_interleave(output.shape[0] // draws.shape[0], dim=0)
        return draws.view(draws.shape[0], *[1] * (output.dim() - 2), draws.shape[1])


class Switched(nn.Module):
    """What a method puts into a network and can be switched off."""

    pretrained = False
    """Whether it is off, so that the network is the pretrained one."""


class Residual(Noised, Switched):
    """base(x) + delta(x): a frozen part of the network and what a method adds to its output.

    A method gives `parts`; a layer that merges gives `plain_module` too.
    """

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """base(x) and delta(x), which broadcasts to the shape of base(x)."""
        raise NotImplementedError

    def base(self, x: Tensor) -> Tensor:
        """What the pretrained network says."""
        return self.parts(x)[0]

    def delta(self, x: Tensor) -> Tensor:
        """What the adapter adds."""
        return self.parts(x)[1]

    def plain(self, x: Tensor) -> Tensor:
        """base(x) + delta(x) without noise."""
        base, delta = self.parts(x)
        return base + delta

    def noised(self, x: Tensor) -> Tensor:
        """base(x) + z ⊙ delta(x)."""
        base, delta = self.parts(x)
        return torch.addcmul(base, self.noise(delta), delta)

    def plain_module(self) -> nn.Module:
        """An ordinary module that computes the same; the adapted one itself where none does."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.pretrained:
            return self.base(x)
        if not self.noisy:
            return self.plain(x)
        return self.perturb(self.plain(x)) if self.perturbs_output else self.noised(x)


class ResidualLinear(Residual):
    """A frozen linear layer and a trained change of its weight and bias.

    A method gives `delta_weight` (out, in) and `delta_bias` (out,); either may be None.
    """

    def __init__(self, base: nn.Linear, name: str) -> None:
        super().__init__(name)
        self.weight, self.bias = base.weight, base.bias
        self.fixed: tuple[Tensor, Tensor | None] | None = None

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    def delta_weight(self) -> Tensor | None:
        """The change of the weight."""
        raise NotImplementedError

    def delta_bias(self) -> Tensor | None:
        """The change of the bias."""
        raise NotImplementedError

    def base(self, x: Tensor) -> Tensor:
        """What the pretrained layer says."""
        return F.linear(x, self.weight, self.bias)

    def delta(self, x: Tensor) -> Tensor:
        """What the adapter adds, shape (…, out); a change of the bias alone has one row for all."""
        weight, bias = self.delta_weight(), self.delta_bias()
        if weight is not None:
            return F.linear(x, weight, bias)
        assert bias is not None, "a method changes the weight or the bias"
        return bias.expand(x.shape[0], *[1] * (x.dim() - 2), -1)

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the one ordinary layer that computes base(x) + delta(x)."""
        weight, bias = self.delta_weight(), self.delta_bias()
        return (
            self.weight if weight is None else self.weight + weight,
            self.bias if bias is None else bias if self.bias is None else self.bias + bias,
        )

    def plain(self, x: Tensor) -> Tensor:
        """base(x) + delta(x) without noise, as one product; a method overrides it where two small ones are cheaper."""
        return F.linear(x, *self.merged())

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.base(x), self.delta(x)

    def plain_module(self) -> nn.Linear:
        return plain_linear(*self.merged())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.fixed is None else F.linear(x, *self.fixed)


class NoisedHead(Noised):
    """The classification head: trained, and noised as a whole (it is new, so its base part is zero)."""

    def __init__(self, base: nn.Linear, name: str) -> None:
        super().__init__(name)
        self.weight, self.bias = base.weight, base.bias

    def forward(self, x: Tensor) -> Tensor:
        logits = F.linear(x, self.weight, self.bias)
        return self.perturb(logits) if self.noisy else logits


def residuals(model: nn.Module) -> dict[str, Residual]:
    """What a method has adapted in a model, by name, in order."""
    return {layer.name: layer for layer in model.modules() if isinstance(layer, Residual)}


def residual_layers(model: nn.Module) -> dict[str, ResidualLinear]:
    """The adapted linear layers alone."""
    return {layer.name: layer for layer in model.modules() if isinstance(layer, ResidualLinear)}


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen linear layer with a copy of these."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return linear


@contextmanager
def merged_weights(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it every adapted linear layer is one product with its merged weight; yields those weights by name.

    The weights are leaves that take gradients, so that a diagnostic can ask for them.
    """
    layers = residual_layers(model)
    try:
        with torch.no_grad():
            for layer in layers.values():
                weight, bias = layer.merged()
                layer.fixed = (weight.detach().requires_grad_(), None if bias is None else bias.detach())
        yield {name: layer.fixed[0] for name, layer in layers.items() if layer.fixed is not None}
    finally:
        for layer in layers.values():
            layer.fixed = None
