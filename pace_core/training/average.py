"""The moving average of what is trained, where a spec asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pace_core.training.optimizer import trainable


class Average:
    """An exponential moving average over the steps; it begins with the parameters of the first step.

    As timm's ModelEmaV3 without its warm-up, of the trained parameters alone: the others do not change.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self.values: dict[str, Tensor] = {}
        """By the parameters' names; empty before the first step."""

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the parameters as the step left them."""
        parameters = trainable(self._model)
        if not self.values:
            self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}
            return
        for name, parameter in parameters.items():
            self.values[name].lerp_(parameter, 1 - self._decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Gives the model the average for its parameters within the context."""
        parameters = trainable(self._model)
        if not self.values:
            yield
            return
        last = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            _set(parameters, self.values)
            yield
        finally:
            _set(parameters, last)


@torch.no_grad()
def _set(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
