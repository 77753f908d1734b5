"""Layers of HF `peft` as residual ones: base(x) is the layer below, delta(x) what `peft` adds to it."""

from typing import Any, cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from pace_core.network.residual import Noised, Residual, Switched
from pace_core.network.roles import put_before


class PeftLayer(Residual):
    """Role of a layer of `peft` (see `put_before`): the form in which regularizers know an adapted layer.

    The classes of such a layer are, in the order in which methods are looked up: this one, Residual, Noised, Switched,
    then `peft`'s own, such as its `lora.Linear`. So `Residual.forward` runs first, and asks for the parts below.
    """

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        base = self.base(x)
        return base, self.plain(x) - base

    def base(self, x: Tensor) -> Tensor:
        return cast(BaseTunerLayer, self).get_base_layer()(x)

    def plain(self, x: Tensor) -> Tensor:
        """Runs the forward of `peft`'s own class, the first after Switched in that order, past Residual's.

        A linear layer of a Swin passes height and width apart (batch, height, width, channels), which GraLoRA of `peft`
        refuses and OFT takes for a convolution's input: it gets (batch, tokens, channels).
        """
        forward = cast(Any, super(Switched, self)).forward
        if x.dim() == 4 and isinstance(cast(BaseTunerLayer, self).get_base_layer(), nn.Linear):
            return forward(x.flatten(1, 2)).unflatten(1, x.shape[1:3])
        return forward(x)

    def plain_module(self) -> nn.Module:
        layer = cast(Any, self)
        try:
            layer.merge()
        except NotImplementedError:
            return self
        return layer.get_base_layer().requires_grad_(False)


class PeftHead(Noised):
    """Role of a classifier (see `put_before`): it is new, so the noise falls on all of its output."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        logits = cast(Any, super()).forward(*args, **kwargs)
        noise = self.active_noise
        return logits if noise is None else noise.perturb(logits)


def follow_layers(model: nn.Module) -> list[BaseTunerLayer]:
    """Makes every layer that `peft` put into the model a residual one, in place, and returns them.

    A layer keeps its parameters and their names: only its class changes, so that what `peft` saves, loads and merges
    stays as it is.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, layer in layers.items():
        put_before(cast(nn.Module, layer), PeftLayer, name=name, pretrained=False)
    return list(layers.values())


def follow_head(head: nn.Module, name: str) -> None:
    """Makes the model's classifier, which may be any module, one that takes noise."""
    put_before(head, PeftHead, name=name)
