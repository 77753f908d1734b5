"""Every weight is trained."""

import torch
from torch import nn

from pace_core.methods._inject import freeze
from pace_core.spec import ParamsModel

NAME = "full"
TITLE = "Full fine-tuning"
PAPER = ""
GIVES: frozenset[str] = frozenset()
FITS = frozenset({"vit", "swin", "text"})
STARTS_PRETRAINED = True


class Params(ParamsModel):
    """Nothing to choose."""


# (params, published count without the head, on ViT-B/16)
PUBLISHED_COUNTS = [({}, 85_798_656)]
# likewise without the classifier on RoBERTa-base
TEXT_COUNTS = [({}, 124_055_040)]


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Makes every parameter trainable; the head begins anew."""
    freeze(model, rng)
    model.requires_grad_(True)
