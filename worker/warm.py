"""Warming up of an actor before its first job, so that no job need wait for it."""

import torch

from pace_core import data, methods, regularizers
from pace_core.backbones import vision
from pace_core.spec import Backbone


def warm_up(device: str) -> None:
    """Imports what a run may name, reads the network that ships, and lets the kernels run once."""
    for package in (data, methods, regularizers):
        package.entries()
    loaded = vision.load(Backbone(), num_classes=2, drop_path=0.0)
    model = loaded.model.to(device)
    model(torch.zeros(2, 3, loaded.image_size, loaded.image_size, device=device)).sum().backward()
