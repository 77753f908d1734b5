"""Switching an adapted network back to the pretrained one, whatever the method did to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pace_core.network.parts import head_prefix
from pace_core.network.residual import Switched


class Pretrained:
    """The pretrained network's logits, computed with the head as it is now.

    Created before training, because weights that are trained in place are copied at their start; adapters are switched
    off.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._start = starting_values(model)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns logits (batch, classes) without drop path and dropout; gradients flow to the head alone."""
        was_training = self._model.training
        self._model.eval()
        try:
            with pretrained_weights(self._model):
                return functional_call(self._model, self._start, (images,))
        finally:
            self._model.train(was_training)


def starting_values(model: nn.Module) -> dict[str, Tensor]:
    """Copies what is trained in place: all trained weights but the head's and those of modules that can be disabled."""
    switched = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Switched))
    left_out = (*switched, head_prefix(model))
    with torch.no_grad():
        return {n: p.clone() for n, p in model.named_parameters() if p.requires_grad and not n.startswith(left_out)}


@contextmanager
def pretrained_weights(model: nn.Module) -> Iterator[None]:
    """Switches everything a method added off within the context; the head stays as trained."""
    parts = [module for module in model.modules() if isinstance(module, Switched)]
    try:
        for part in parts:
            part.pretrained = True
        yield
    finally:
        for part in parts:
            part.pretrained = False
