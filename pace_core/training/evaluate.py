"""Outputs with the adapters merged, and what is measured of them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pace_core.data import Metric, Samples
from pace_core.network.residual import merged_weights
from pace_core.preprocessing import Preprocessing
from pace_core.regularizers import label_loss
from pace_core.scores import confusion, matthews, pearson
from pace_core.spec import RunError
from pace_core.tokenization import Tokenization
from pace_core.training.precision import Precision

BATCH = 128


@torch.no_grad()
def logits_of(
    model: nn.Module,
    images: Samples,
    preprocessing: Preprocessing | Tokenization,
    precision: Precision,
    device: torch.device,
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
    return measured_by("accuracy", logits, labels)


def measured_by(metric: Metric, logits: Tensor, labels: Tensor) -> float:
    """Returns the measure that a task is reported in. Raises RunError `nan` for logits of NaN."""
    if not torch.isfinite(logits).all():
        raise RunError("nan", "the trained model's outputs are not finite; lower optimizer.lr")
    match metric:
        case "accuracy":
            return float((logits.argmax(1) == labels).double().mean())
        case "matthews":
            return matthews(confusion(logits.argmax(1), labels, logits.shape[1]))
        case "exact_match":
            raise AssertionError("answers in words are measured by Generation")
        case "pearson":
            return pearson(logits[:, 0], labels)


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Returns the mean over samples: cross-entropy in nats, or the squared error of scores."""
    return float(label_loss(logits.double(), labels, len(labels)))


def batches_of(
    images: Samples, preprocessing: Preprocessing | Tokenization, precision: Precision, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields network inputs and labels in order, on the device."""
    for squares, labels in zip(images.chunks(preprocessing, BATCH), images.labels.split(BATCH), strict=True):
        yield preprocessing(squares.to(device), precision.dtype), labels.to(device)
