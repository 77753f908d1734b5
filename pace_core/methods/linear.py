"""Only the head is trained, on features that stay as they were."""

import torch
from torch import nn

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """Nothing to choose."""


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Makes the head trainable; it begins anew."""
    freeze(model, rng)


METHOD = Method(
    name="linear",
    title="Linear probing",
    doc=__doc__,
    params=Params,
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[({}, 0)],
    text_counts=[({}, 0)],
    adapt=adapt,
    freezes_features=True,
)
