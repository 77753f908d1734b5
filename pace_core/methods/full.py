"""Every weight is trained."""

import torch
from torch import nn

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """Nothing to choose."""


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Makes every parameter trainable; the head begins anew."""
    freeze(model, rng)
    model.requires_grad_(True)


METHOD = Method(
    name="full",
    title="Full fine-tuning",
    doc=__doc__,
    params=Params,
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[({}, 85_798_656)],
    text_counts=[({}, 124_055_040)],
    adapt=adapt,
)
