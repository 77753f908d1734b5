"""Only the head is trained, on features that stay as they were."""

import torch
from torch import nn

from pace_core.methods._inject import freeze
from pace_core.spec import ParamsModel

NAME = "linear"
TITLE = "Linear probing"
PAPER = ""
GIVES: frozenset[str] = frozenset()
FITS = frozenset({"vit", "swin", "text"})
STARTS_PRETRAINED = True
FREEZES_FEATURES = True


class Params(ParamsModel):
    """Nothing to choose."""


PUBLISHED_COUNTS = [({}, 0)]
TEXT_COUNTS = [({}, 0)]


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Makes the head trainable; it begins anew."""
    freeze(model, rng)
