"""The interface of a regularizer: what a step is given, and what it returns."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.noise import Pass


@dataclass(frozen=True)
class Batch:
    """One step's samples: network inputs, labels (batch,), index (batch,) into the training set.

    Inputs are images (batch, 3, size, size) or tokens (batch, 3, length). Where labels are smoothed or samples mixed,
    labels are shares (batch, classes) that sum to one; labels (batch,) of floating point are scores; whole labels
    (batch, length) are the tokens of answers, -100 where none is to be predicted.
    """

    images: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counted(self) -> int:
        """Of how many the losses are means: samples, or tokens that are to be predicted."""
        return int((self.labels != IGNORED).sum()) if _of_tokens(self.labels) else len(self.labels)


@dataclass(frozen=True)
class StepContext:
    """The model and settings that a regularizer works on, the same for the whole run."""

    model: nn.Module
    current: Pass
    micro_batch: int | None
    autocast: Callable[[], AbstractContextManager[None]]
    train_samples: int
    num_classes: int

    @property
    def trained(self) -> list[nn.Parameter]:
        """What the optimizer moves, the head too."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def forward(self, images: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Returns logits in float32 or wider, whatever the precision of the layers, of the model or another network."""
        with self.autocast():
            outputs = (network or self.model)(images)
        logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits  # as models of `transformers` do
        return logits if logits.dtype == torch.float64 else logits.float()


@dataclass(frozen=True)
class Step:
    """The outcome of one step, detached: the terms of the loss, and the logits of the samples that were classified."""

    terms: dict[str, Tensor]
    logits: Tensor
    labels: Tensor


class Regularizer(Protocol):
    """Owner of the training step: how many passes, on which rows, under which noise, and the terms of the loss."""

    interval: int
    """Every interval-th step runs passes of its own kind; all others are alike."""

    def step(self, batch: Batch, step: int) -> Step:
        """Runs the passes and adds the loss's gradient to the parameters' (micro-batch by micro-batch)."""
        ...

    def after_update(self) -> None:
        """Does what has to be done after the optimizer has moved the parameters."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns what a resumed run needs of it."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Stateless:
    """Base class for regularizers without state that do nothing after the update."""

    interval = 1

    def after_update(self) -> None:
        return

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        assert not state, "a checkpoint of another regularizer"


def label_loss(logits: Tensor, labels: Tensor, size: int) -> Tensor:
    """Returns the loss of some of a batch's samples, as their share of the batch's mean: the cross-entropy of classes,
    the squared error of scores. Of answers logits are (tokens to be predicted, vocabulary), and `size` counts these.
    """
    if _of_tokens(labels):
        labels = labels[labels != IGNORED]
    if labels.is_floating_point() and labels.dim() == 1:
        return F.mse_loss(logits.squeeze(1), labels.to(logits.dtype), reduction="sum") / size
    return F.cross_entropy(logits, labels, reduction="sum") / size


IGNORED = -100
"""Label of a token that is not to be predicted."""


def _of_tokens(labels: Tensor) -> bool:
    return labels.dim() == 2 and not labels.is_floating_point()


def consistency(first: Tensor, second: Tensor, size: int) -> Tensor:
    """Returns the squared distance of two draws' logits, summed over classes, as a share of the mean over `size`
    samples (eq. 12). Of answers it is summed over the vocabulary, and the mean is over the tokens to be predicted.
    """
    return (first - second).square().sum() / size


def accumulate(
    batch: Batch, micro_batch: int | None, passing: Callable[[slice], tuple[dict[str, Tensor], Tensor]]
) -> Step:
    """Runs `passing` on slices of the batch and back-propagates each slice's `loss`; terms add up to the batch's."""
    terms: dict[str, Tensor] = {}
    logits: list[Tensor] = []
    for samples in slices(len(batch), micro_batch):
        part, seen = passing(samples)
        part["loss"].backward()
        for name, value in part.items():
            terms[name] = terms[name] + value.detach() if name in terms else value.detach()
        logits.append(seen.detach())
    return Step(terms, torch.cat(logits), batch.labels)


def slices(size: int, micro_batch: int | None) -> Iterator[slice]:
    """Yields the parts of a batch that pass through the network at once."""
    width = micro_batch or size
    for start in range(0, size, width):
        yield slice(start, min(start + width, size))
