"""Trained parameters with the starts that several methods share."""

import torch
from torch import nn


def xavier_uniform(shape: tuple[int, int], rng: torch.Generator) -> nn.Parameter:
    """Returns a trained matrix drawn Xavier-uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape), generator=rng))


def uniform(shape: tuple[int, ...], bound: float, rng: torch.Generator) -> nn.Parameter:
    """Returns a trained tensor drawn uniformly from ± bound."""
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=rng))


def normal(shape: tuple[int, ...], rng: torch.Generator, std: float = 0.02) -> nn.Parameter:
    """Returns a trained tensor drawn from a normal distribution around zero, cut off at ± 2."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=std, generator=rng))
