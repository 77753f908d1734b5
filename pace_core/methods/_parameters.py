"""Trained parameters with the starts that several methods share."""

import torch
from torch import nn


def xavier_uniform(shape: tuple[int, int], rng: torch.Generator) -> nn.Parameter:
    """Returns a trained matrix drawn Xavier-uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape), generator=rng))


def uniform(shape: tuple[int, ...], bound: float, rng: torch.Generator) -> nn.Parameter:
    """Returns a trained tensor drawn uniformly from ± bound."""
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=rng))
