"""Blocks that keep their input alone and are computed again in the backward pass: less memory for a third more time."""

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from pace_core.network.parts import blocks_of
from pace_core.network.roles import put_before
from pace_core.noise import Pass


class Recomputed(nn.Module):
    """Role of a block (see `put_before`): under gradients it is computed twice, with the same draws."""

    current: Pass

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.training:
            return super().forward(*args, **kwargs)
        return checkpoint(super().forward, *args, use_reentrant=False, context_fn=self._contexts, **kwargs)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _as_it_was(self.current, self.current.noisy)


@contextmanager
def _as_it_was(current: Pass, noisy: bool) -> Any:
    """Makes the pass that has ended the current one again: its draws are functions of step and layer."""
    now = current.noisy
    current.noisy = noisy
    try:
        yield
    finally:
        current.noisy = now


def recompute_blocks(model: nn.Module, current: Pass) -> None:
    """Makes every block of the model one that is computed again, in place."""
    for name in blocks_of(model):
        put_before(model.get_submodule(name), Recomputed, current=current)
