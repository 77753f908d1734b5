"""Layers of HF `peft` as residual ones: base(x) is the layer below, delta(x) what `peft` adds to it."""

from functools import cache
from types import new_class
from typing import Any, cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from pace_core.network.residual import Noised, Residual, Switched


class PeftLayer(Residual):
    """Stands before the class of a layer of `peft` in the class of that layer."""

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        base = self.base(x)
        return base, self.plain(x) - base

    def base(self, x: Tensor) -> Tensor:
        return cast(BaseTunerLayer, self).get_base_layer()(x)

    def plain(self, x: Tensor) -> Tensor:
        return cast(Any, super(Switched, self)).forward(x)  # the forward of `peft`'s own class

    def plain_module(self) -> nn.Module:
        layer = cast(Any, self)
        try:
            layer.merge()
        except NotImplementedError:
            return self
        return layer.get_base_layer().requires_grad_(False)


class PeftHead(Noised):
    """Stands before the class of a classifier, which is noised as a whole."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        logits = cast(Any, super()).forward(*args, **kwargs)
        return self.disturbed(logits) if self.noisy else logits


def follow_layers(model: nn.Module) -> list[str]:
    """Makes every layer that `peft` put into the model a residual one, in place; their names.

    A layer keeps its parameters and their names: only its class changes, so that what `peft` saves, loads and merges
    stays as it is.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, layer in layers.items():
        _put_before(layer, PeftLayer, name)
    return list(layers)


def follow_head(head: nn.Module, name: str) -> None:
    """Likewise for the model's classifier, which may be any module."""
    _put_before(head, PeftHead, name)


def _put_before(module: nn.Module, role: type[Noised], name: str) -> None:
    if not isinstance(module, role):
        module.__class__ = _joined(role, type(module))
    cast(Noised, module).name = name


@cache
def _joined(role: type[Noised], own: type[nn.Module]) -> type[nn.Module]:
    return new_class(own.__name__, (role, own))
