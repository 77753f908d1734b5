"""What several adapted layers share stands in the model once: in the first of them."""

from torch import nn


def attach(layer: nn.Module, name: str, module: nn.Module, *, owned: bool) -> None:
    """Makes `module` readable as `layer.<name>`; only its owner counts its parameters, moves and saves them."""
    if owned:
        layer.add_module(name, module)
    else:
        object.__setattr__(layer, name, module)  # not a submodule, so its parameters are not named twice
