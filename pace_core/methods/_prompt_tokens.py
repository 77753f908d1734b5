"""Prompts as tokens: trained rows that stand between the prefix tokens and the patches while blocks run (VPT)."""

import math
from functools import partial
from typing import Any

import torch
from pydantic import Field
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pace_core.network.residual import Switched
from pace_core.spec import ParamsModel


class PromptParams(ParamsModel):
    """Parameters that both forms of VPT have."""

    prompts: int = Field(default=10, ge=1)
    """Number of prompts before a block; the paper tries 1, 5, 10, 50, 100 and 200."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the prompts' entries dropped in training."""


class PromptTokens(Switched):
    """Up to `len(tokens)` trained tokens without position embedding; the first `size` of them are in use."""

    def __init__(self, tokens: Tensor, prefix: int, dropout: float) -> None:
        """tokens: (number, width); prefix: how many tokens of the network stand before them, such as the class token.

        dropout: share of their entries dropped in training.
        """
        super().__init__()
        self.tokens = nn.Parameter(tokens)
        self.prefix, self.size = prefix, len(tokens)
        self.dropout = nn.Dropout(dropout)

    def put(self, x: Tensor) -> Tensor:
        """Inserts the prompts: (rows, tokens, width) → (rows, tokens + size, width)."""
        if self.pretrained or not self.size:
            return x
        prompts = self.dropout(self.tokens[: self.size].to(x.dtype).expand(len(x), -1, -1))
        return torch.cat([x[:, : self.prefix], prompts, x[:, self.prefix :]], dim=1)

    def take(self, x: Tensor) -> Tensor:
        """Removes what became of the prompts: (rows, tokens + size, width) → (rows, tokens, width)."""
        if self.pretrained or not self.size:
            return x
        return torch.cat([x[:, : self.prefix], x[:, self.prefix + self.size :]], dim=1)

    def num_parameters(self, size: int) -> int:
        return size * self.tokens.shape[1]


def prompt(first: nn.Module, last: nn.Module, prompts: PromptTokens) -> None:
    """Puts the prompts in before block `first`, which owns them, and takes them out after block `last`."""
    first.add_module("prompts", prompts)
    first.register_forward_pre_hook(partial(_put, prompts))
    last.register_forward_hook(partial(_take, prompts))


def uniform_tokens(model: VisionTransformer, number: int, rng: torch.Generator) -> Tensor:
    """Draws VPT's start, uniform in ± sqrt(6 / (3 · patch² + width)): Xavier's bound for the patch embedding."""
    patch: Any = model.patch_embed.patch_size
    bound = math.sqrt(6 / (3 * math.prod(patch) + model.embed_dim))
    return torch.empty(number, model.embed_dim).uniform_(-bound, bound, generator=rng)


def _put(prompts: PromptTokens, _block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    x, *rest = args
    return prompts.put(x), *rest


def _take(prompts: PromptTokens, _block: nn.Module, _args: tuple[Any, ...], x: Tensor) -> Tensor:
    return prompts.take(x)
