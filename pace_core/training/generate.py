"""Greedy answers of a language model, in batches, with the adapters merged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig

from pace_core.chat import Chat
from pace_core.network.residual import merged_weights
from pace_core.training.precision import Precision

BATCH = 16


@torch.no_grad()
def replies_of(
    model: nn.Module, problems: Sequence[str], new_tokens: int, chat: Chat, precision: Precision, device: torch.device
) -> list[str]:
    """Returns the answer to each problem, in their order. No noise; prompts of a batch are padded on the left."""
    prompts = [chat.prompt(problem) for problem in problems]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))  # little padding in a batch
    replies = [""] * len(prompts)
    was_training = model.training
    model.eval()
    config = GenerationConfig(
        do_sample=False, max_new_tokens=new_tokens, eos_token_id=list(chat.stops), pad_token_id=chat.pad_id
    )
    try:
        with merged_weights(model), precision.autocast(), _as_transformers_has_it(model) as network:
            for start in range(0, len(order), BATCH):
                places = order[start : start + BATCH]
                length = max(len(prompts[place]) for place in places)
                ids = torch.tensor([[chat.pad_id] * (length - len(prompts[p])) + prompts[p] for p in places])
                mask = torch.tensor([[0] * (length - len(prompts[p])) + [1] * len(prompts[p]) for p in places])
                written = network.generate(
                    input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config
                )
                for place, row in zip(places, written[:, length:].tolist(), strict=True):
                    replies[place] = chat.decode(row)
    finally:
        model.train(was_training)
    return replies


@contextmanager
def _as_transformers_has_it(model: nn.Module) -> Iterator[Any]:
    """Gives the model its own class back within the context: generation reads the signature of its forward pass."""
    role = type(model)
    model.__class__ = role.__bases__[1]
    try:
        yield model
    finally:
        model.__class__ = role
