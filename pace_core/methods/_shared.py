"""Modules that several adapted layers share, such as the projections of VeRA and ARC."""

from torch import nn


def register_shared(layer: nn.Module, name: str, module: nn.Module, *, owned: bool) -> None:
    """Makes `module` readable as `layer.<name>` and registers it as a submodule only where `owned` is true.

    All layers that share a module read it, but only the first one owns it, so that its parameters are counted and
    saved once.
    """
    if owned:
        layer.add_module(name, module)
    else:
        object.__setattr__(layer, name, module)  # nn.Module's own __setattr__ would register it a second time
