"""The residual form of an adapted layer: the pretrained part plus a change that can be computed separately."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.network.layer_noise import LayerNoise
from pace_core.network.lowered import lowered


class Noised(nn.Module):
    """Base class for modules whose output takes noise."""

    layer_noise: LayerNoise | None = None
    """What a regularizer puts on this layer; without it the layer is never perturbed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @property
    def active_noise(self) -> LayerNoise | None:
        """The layer's noise where the current pass draws any."""
        noise = self.layer_noise
        return noise if noise is not None and noise.current.noisy else None

    def noise(self, delta: Tensor) -> Tensor:
        """Draws the factor z for the adapter's output; a layer whose output stands for other channels overrides it."""
        assert self.layer_noise is not None, f"{self.name} has no noise"
        return self.layer_noise.factor(delta)


class Switched(nn.Module):
    """Base class for modules a method adds to a network; setting `pretrained` disables them."""

    pretrained = False
    """Whether the module is disabled, so that the network computes what the pretrained one does."""


class Residual(Noised, Switched):
    """Base class for base(x) + delta(x): a frozen part of the network and what a method adds to its output.

    A subclass defines `parts`; a layer that merges also defines `plain_module`.
    """

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns base(x) and delta(x), which broadcasts to the shape of base(x)."""
        raise NotImplementedError

    def base(self, x: Tensor) -> Tensor:
        """Returns the output of the pretrained part."""
        return self.parts(x)[0]

    def delta(self, x: Tensor) -> Tensor:
        """Returns what the adapter adds."""
        return self.parts(x)[1]

    def plain(self, x: Tensor) -> Tensor:
        """Returns base(x) + delta(x) without noise."""
        base, delta = self.parts(x)
        return base + delta.to(base.dtype)  # under autocast a trained scale or bias would make all that follows float32

    def noised(self, x: Tensor) -> Tensor:
        """Returns base(x) + z ⊙ delta(x)."""
        base, delta = self.parts(x)
        delta = delta.to(base.dtype)
        return torch.addcmul(base, self.noise(delta), delta)

    def plain_module(self) -> nn.Module:
        """Returns an ordinary module with the same output, or this one where there is none."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.pretrained:
            return self.base(x)
        noise = self.active_noise
        if noise is None:
            return self.plain(x)
        return noise.perturb(self.plain(x)) if noise.perturbs_output else self.noised(x)


class ResidualLinear(Residual):
    """Base class for a frozen linear layer with a trained change of its weight and bias.

    A subclass defines `delta_weight` (out, in) and `delta_bias` (out,); either may return None.
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
        """Returns the change of the weight."""
        raise NotImplementedError

    def delta_bias(self) -> Tensor | None:
        """Returns the change of the bias."""
        raise NotImplementedError

    def base(self, x: Tensor) -> Tensor:
        """Returns the output of the pretrained layer."""
        return F.linear(x, lowered(self.weight), self.bias)

    def delta(self, x: Tensor) -> Tensor:
        """Returns what the adapter adds, shape (…, out); a change of the bias alone is one row for all tokens."""
        weight, bias = self.delta_weight(), self.delta_bias()
        if weight is not None:
            return F.linear(x, weight, bias)
        assert bias is not None, "a method changes the weight or the bias"
        return bias.expand(x.shape[0], *[1] * (x.dim() - 2), -1)

    def output_noise(self, x: Tensor) -> Tensor:
        """Draws z for the outputs of x, (rows, 1, …, out), without computing them."""
        return self.noise(x.new_empty(()).expand(*x.shape[:-1], self.out_features))

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """Returns weight and bias of the one ordinary layer that computes base(x) + delta(x)."""
        weight = self.delta_weight()
        return self.weight if weight is None else self.weight + weight, self.merged_bias()

    def merged_bias(self) -> Tensor | None:
        """Returns the bias of that layer."""
        bias = self.delta_bias()
        return self.bias if bias is None else bias if self.bias is None else self.bias + bias

    def plain(self, x: Tensor) -> Tensor:
        """Returns base(x) + delta(x) without noise, as one product; overridden where two small products are cheaper."""
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
        noise = self.active_noise
        return logits if noise is None else noise.perturb(logits)


def residuals(model: nn.Module) -> dict[str, Residual]:
    """Returns the adapted modules of a model by name, in order."""
    return {layer.name: layer for layer in model.modules() if isinstance(layer, Residual)}


def residual_layers(model: nn.Module) -> dict[str, ResidualLinear]:
    """Returns the adapted linear layers of a model by name, in order."""
    return {layer.name: layer for layer in model.modules() if isinstance(layer, ResidualLinear)}


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Returns a frozen linear layer with a copy of this weight and bias."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return linear


@contextmanager
def merged_weights(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Computes every adapted linear layer as one product with its merged weight within the context.

    Yields the merged weights by name. They are leaves that take gradients, for diagnostics.
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
