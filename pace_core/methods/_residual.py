"""The common form of an adapted linear layer: the pretrained layer plus a change that can be seen apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.noise import Pass


class Noised(nn.Module):
    """A linear layer whose adapter part can be multiplied by z = 1 + sigma · eps (PACE, eq. 11)."""

    def __init__(self, base: nn.Linear, name: str) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.name = name
        self.sigma = 0.0
        self.current: Pass | None = None

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def noisy(self) -> bool:
        """Whether the pass under way perturbs this layer."""
        return self.sigma > 0 and self.current is not None and self.current.noisy

    def noise(self, delta: Tensor) -> Tensor:
        """The factor z for the adapter's output: one draw per sample and channel, shared by the sample's tokens.

        delta: (rows, …, channels), where rows is a multiple of the samples (Swin's windows stand as rows).
        """
        assert self.current is not None
        eps = self.current.normal(self.name, delta.shape[-1], delta)
        if delta.shape[0] != eps.shape[0]:
            eps = eps.repeat_interleave(delta.shape[0] // eps.shape[0], dim=0)
        return 1 + self.sigma * eps.view(eps.shape[0], *[1] * (delta.dim() - 2), eps.shape[1])


class ResidualLinear(Noised):
    """base(x) + delta(x): a frozen linear layer and a trained change of its weight and bias.

    A method gives `delta_weight` (out, in) and `delta_bias` (out,); either may be None.
    """

    def __init__(self, base: nn.Linear, name: str) -> None:
        super().__init__(base, name)
        self.fixed: tuple[Tensor, Tensor | None] | None = None

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

    def forward(self, x: Tensor) -> Tensor:
        if self.fixed is not None:
            return F.linear(x, *self.fixed)
        if not self.noisy:
            return self.plain(x)
        return self.noised(x)

    def noised(self, x: Tensor) -> Tensor:
        """base(x) + z ⊙ delta(x); a method overrides it where one product does for both."""
        delta = self.delta(x)
        return torch.addcmul(self.base(x), self.noise(delta), delta)


class NoisedHead(Noised):
    """The classification head: trained, and noised as a whole (it is new, so its base part is zero)."""

    def forward(self, x: Tensor) -> Tensor:
        logits = F.linear(x, self.weight, self.bias)
        return self.noise(logits) * logits if self.noisy else logits


def residual_layers(model: nn.Module) -> dict[str, ResidualLinear]:
    """The adapted layers of a model by name, in order."""
    return {layer.name: layer for layer in model.modules() if isinstance(layer, ResidualLinear)}


def scaled_xavier(shape: tuple[int, int], rng: torch.Generator) -> nn.Parameter:
    """A trained matrix, Xavier-uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape), generator=rng))


@contextmanager
def merged_weights(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it every adapted layer is one ordinary product with its merged weight; yields those weights by name.

    The weights are leaves that take gradients, so that a diagnostic can ask for them.
    """
    with _fixed(model, ResidualLinear.merged) as weights:
        yield weights


@contextmanager
def pretrained_weights(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it every adapted layer is the pretrained one again (the head stays as trained)."""
    with _fixed(model, lambda layer: (layer.weight, layer.bias)) as weights:
        yield weights


@contextmanager
def _fixed(
    model: nn.Module, of: Callable[[ResidualLinear], tuple[Tensor, Tensor | None]]
) -> Iterator[dict[str, Tensor]]:
    layers = residual_layers(model)
    try:
        with torch.no_grad():
            for layer in layers.values():
                weight, bias = of(layer)
                layer.fixed = (weight.detach().requires_grad_(), None if bias is None else bias.detach())
        yield {name: layer.fixed[0] for name, layer in layers.items() if layer.fixed is not None}
    finally:
        for layer in layers.values():
            layer.fixed = None
