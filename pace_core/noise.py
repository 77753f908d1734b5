"""The one source of random draws during training, and the rows of them that the current pass uses.

A draw is a function of (seed, step, name): neither the order of calls, nor micro-batches, nor an interruption change
it. Every draw is made for the step's whole batch; a pass takes its rows.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


def keyed_seed(*key: object) -> int:
    """Returns a 63-bit seed made from any key, the same on every machine."""
    digest = hashlib.blake2b("/".join(str(part) for part in key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Source(Protocol):
    """A source of random draws; tests replay recorded ones through the same two calls."""

    def normal(self, step: int, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns standard normal draws, in the dtype and on the device of `like`."""
        ...

    def bernoulli(self, step: int, name: str, samples: int, probability: float, like: Tensor) -> Tensor:
        """Returns ones (with that probability) and zeros, shape (samples,)."""
        ...


class SeededSource:
    """A source whose draws are functions of (seed, step, name)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def normal(self, step: int, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return torch.randn(shape, dtype=like.dtype, device=like.device, generator=self._generator(step, name, like))

    def bernoulli(self, step: int, name: str, samples: int, probability: float, like: Tensor) -> Tensor:
        uniform = torch.rand(samples, device=like.device, generator=self._generator(step, name, like))
        return (uniform < probability).to(like.dtype)

    def _generator(self, step: int, name: str, like: Tensor) -> torch.Generator:
        generator = self._generators.get(like.device)
        if generator is None:  # a new one for each draw costs a GPU more than the draw
            generator = self._generators[like.device] = torch.Generator(device=like.device)
        return generator.manual_seed(keyed_seed(self.seed, step, name))


class Pass:
    """The current forward pass, shared by the layers of one model: whether adapters are noised, and for which rows.

    A step has `batch` samples and `perturbations` draws of the noise for each; a pass sees `samples` of them, the
    perturbations stacked one after another along the rows.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.noisy = False
        self.step = 0
        self.batch = 0
        self.perturbations = 1
        self.samples = slice(0, 0)
        self.forked = False
        """Whether the pass has reached the layer from which on every draw of a sample has rows of its own."""
        self._forked_at: dict[str, bool] = {}
        self._calls: Counter[str] = Counter()
        self._calls_of_pass: Counter[str] | None = None

    @contextmanager
    def noised(self, step: int, batch: int, perturbations: int, samples: slice) -> Iterator[None]:
        """Makes the model's forward a training pass of these samples under noise, within the context."""
        self.begin(step, batch, perturbations, samples)
        try:
            yield
        finally:
            self.end()

    def begin(self, step: int, batch: int, perturbations: int, samples: slice) -> None:
        """Starts such a pass."""
        self.noisy, self.step, self.batch = True, step, batch
        self.perturbations, self.samples, self.forked = perturbations, samples, False
        self._forked_at, self._calls, self._calls_of_pass = {}, Counter(), None

    def end(self) -> None:
        """Ends it: what is computed from here on is not noised."""
        self.noisy = False
        if self._calls_of_pass is None:
            self._calls_of_pass = Counter(self._calls)

    def again(self) -> None:
        """Goes back to the pass that ended: gradient checkpointing computes its layers anew in the backward pass."""
        self.end()
        self.noisy = True

    def normal(self, name: str, channels: int, like: Tensor) -> Tensor:
        """Returns standard normal draws of this pass's rows, shape (perturbations · samples, channels)."""
        draws = self.source.normal(self.step, name, (self.perturbations * self.batch, channels), like)
        return draws.view(self.perturbations, self.batch, channels)[:, self.samples].reshape(-1, channels)

    def channel_mask(self, name: str, channels: int, probability: float, like: Tensor) -> Tensor:
        """Returns ones (with that probability) and zeros for this pass's rows, (perturbations · samples, channels)."""
        draws = self.source.bernoulli(self.step, name, self.perturbations * self.batch * channels, probability, like)
        return draws.view(self.perturbations, self.batch, channels)[:, self.samples].reshape(-1, channels)

    def entry_mask(self, name: str, probability: float, like: Tensor) -> Tensor:
        """Returns ones (with that probability) and zeros for every entry of `like` (rows, …): one mask per sample.

        A sample may have several rows in a draw, such as the windows of a Swin.
        """
        call = self._call(name)
        draws = self.perturbations if self._forked_at.setdefault(call, self.forked) else 1
        samples = self.samples.stop - self.samples.start
        per_sample = (like.shape[0] // (draws * samples), *like.shape[1:])
        drawn = self.source.bernoulli(self.step, call, self.batch * math.prod(per_sample), probability, like)
        own = drawn.view(self.batch, *per_sample)[self.samples].flatten(0, 1)
        return own.repeat(draws, *[1] * (own.dim() - 1))

    def drop_path_factor(self, name: str, probability: float, like: Tensor, perturbations: int) -> Tensor:
        """Returns the drop-path factor of this pass's rows, shape (perturbations · samples,).

        One mask for all perturbations of a sample, divided by its mean over the whole batch, so that the kept rows
        make up for the dropped ones (the authors' scaling). A mask that drops every row is all zeros.
        """
        mask = self.source.bernoulli(self.step, self._call(name), self.batch, probability, like)
        mask = mask / mask.mean().clamp_min(1 / self.batch)
        return mask[self.samples].repeat(perturbations)

    def _call(self, name: str) -> str:
        """Names the draw of a module's n-th call in a pass, as some blocks call one dropout in both of their branches.

        A layer that is computed again makes its calls in the same order, so counting goes on modulo those of the pass.
        """
        number = self._calls[name]
        self._calls[name] += 1
        if self._calls_of_pass is not None:
            number %= max(1, self._calls_of_pass[name])
        return f"{name}#{number}" if number else name
