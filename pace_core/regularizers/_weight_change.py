"""The change of the weights by fine-tuning, for penalties on it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pace_core.network.parts import head_prefix
from pace_core.network.residual import residual_layers


class WeightChange:
    """The weight changes, one by one: dW and db for adapted linear layers, (current - initial) for all else trained.

    For weights that are trained in place the latter is θ - θ0. The head is left out, as it has no pretrained value.
    Created before training.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = list(residual_layers(model).values())
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        in_layers = _reached([change for layer in self._layers for change in _of(layer)], list(trained.values()))
        head = head_prefix(model)
        in_place = [p for n, p in trained.items() if not n.startswith(head) and id(p) not in in_layers]
        self._others = [(parameter, parameter.detach().clone()) for parameter in in_place]

    def __iter__(self) -> Iterator[Tensor]:
        for layer in self._layers:
            yield from _of(layer)
        for parameter, start in self._others:
            yield parameter - start


def _of(layer) -> list[Tensor]:
    changes = (layer.delta_weight(), layer.delta_bias())
    return [change for change in changes if change is not None and change.requires_grad]


def _reached(changes: list[Tensor], parameters: list[nn.Parameter]) -> set[int]:
    """Which parameters the changes are functions of (several layers may share one)."""
    if not changes:
        return set()
    found = torch.autograd.grad(torch.stack([c.sum() for c in changes]).sum(), parameters, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, found, strict=True) if gradient is not None}
