"""Accuracy with the adapters merged."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core.data import Images
from pace_core.network.residual import merged_weights
from pace_core.preprocessing import Preprocessing
from pace_core.spec import RunError
from pace_core.training.precision import Precision

BATCH = 128


@torch.no_grad()
def logits_of(
    model: nn.Module, images: Images, preprocessing: Preprocessing, precision: Precision, device: torch.device
) -> Tensor:
    """Returns logits [N, classes] on the CPU: adapters merged once, no noise, no drop path."""
    was_training = model.training
    model.eval()
    try:
        with merged_weights(model), precision.autocast():
            parts = [model(x).float().cpu() for x, _ in batches_of(images, preprocessing, precision, device)]
    finally:
        model.train(was_training)
    return torch.cat(parts)


def only(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Returns the logits [N, all classes] with those of all other classes at the lowest number."""
    kept = torch.zeros(logits.shape[1], dtype=torch.bool)
    kept[torch.tensor(classes)] = True
    return logits.masked_fill(~kept, torch.finfo(logits.dtype).min)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Returns the share of samples whose largest logit is their label's. Raises RunError `nan` for logits of NaN."""
    if not torch.isfinite(logits).all():
        raise RunError("nan", "the trained model's outputs are not finite; lower optimizer.lr")
    return float((logits.argmax(1) == labels).double().mean())


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Returns the mean over samples, in nats."""
    return float(F.cross_entropy(logits.double(), labels))


def batches_of(
    images: Images, preprocessing: Preprocessing, precision: Precision, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields network inputs and labels in order, on the device."""
    for squares, labels in zip(images.squares(preprocessing, BATCH), images.labels.split(BATCH), strict=True):
        yield preprocessing(squares.to(device), precision.dtype), labels.to(device)
