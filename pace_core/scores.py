"""Measures beside accuracy, out of logits; each agrees with scikit-learn's, those of scores with SciPy's."""

import torch
from torch import Tensor


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Returns how many images of each class (row) were taken for each class (column), int64 [classes, classes]."""
    return torch.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Returns the measures of logits [N, classes] by name; one that is not defined, as of one class alone, is left out.

    `balanced_accuracy`: mean accuracy over the classes that occur. `macro_f1`: mean F1 over the classes that occur as a
    label or an answer. `auroc`: mean area under the ROC curve of each class against the rest, by its probability.
    `quadratic_kappa`: Cohen's kappa, weighted by the squared distance of the class numbers; it is for ordered classes.
    """
    counts = confusion(logits.argmax(1), labels, logits.shape[1]).double()
    right, of_label, of_answer = counts.diag(), counts.sum(1), counts.sum(0)
    present, named = of_label > 0, of_label + of_answer > 0
    found = {
        "balanced_accuracy": (right[present] / of_label[present]).mean(),
        "macro_f1": (2 * right[named] / (of_label + of_answer)[named]).mean(),
        "auroc": _auroc(logits.double().softmax(1), labels),
        "quadratic_kappa": _quadratic_kappa(counts),
    }
    return {name: float(value) for name, value in found.items() if torch.isfinite(value)}


def scores_of_texts(counts: Tensor) -> dict[str, float]:
    """Returns what GLUE's tasks are measured by, out of a confusion matrix: `matthews`, and of two classes `f1`.

    f1 is that of the second class, and 0 where it neither occurs nor is answered.
    """
    found = {"matthews": matthews(counts)}
    if len(counts) == 2:
        found["f1"] = float(2 * counts[1, 1] / (counts[1].sum() + counts[:, 1].sum()).clamp_min(1))
    return found


def matthews(counts: Tensor) -> float:
    """Returns Matthews' correlation out of a confusion matrix, for any number of classes; 0 where it is not defined."""
    counts = counts.double()
    total, right, of_label, of_answer = counts.sum(), counts.diag().sum(), counts.sum(1), counts.sum(0)
    product = (total**2 - of_label.square().sum()) * (total**2 - of_answer.square().sum())
    return float((right * total - of_label @ of_answer) / product.sqrt()) if product > 0 else 0.0


def pearson(outputs: Tensor, labels: Tensor) -> float:
    """Returns Pearson's correlation of two vectors; 0 where either is constant, as it is not defined there."""
    x, y = outputs.double() - outputs.double().mean(), labels.double() - labels.double().mean()
    product = float(x.norm() * y.norm())
    return max(-1.0, min(1.0, float(x @ y) / product)) if product > 0 else 0.0


def scores_of_regression(outputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Returns `spearman`, the correlation of ranks, and `mean_squared_error`."""
    return {
        "spearman": pearson(_ranks(outputs), _ranks(labels)),
        "mean_squared_error": float((outputs.double() - labels.double()).square().mean()),
    }


def of_each_class(counts: Tensor) -> Tensor:
    """Returns number of images, accuracy, precision and F1 of each class, float64 [classes, 4]; nan where undefined."""
    counts = counts.double()
    right, of_label, of_answer = counts.diag(), counts.sum(1), counts.sum(0)
    return torch.stack([of_label, right / of_label, right / of_answer, 2 * right / (of_label + of_answer)], 1)


def _auroc(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The mean over the classes that have images and are not all of them, by the ranks of Mann and Whitney's U."""
    areas: list[Tensor] = []
    for label in range(probabilities.shape[1]):
        of_class = labels == label
        positive = int(of_class.sum())
        negative = len(labels) - positive
        if positive and negative:
            above = _ranks(probabilities[:, label])[of_class].sum() - positive * (positive + 1) / 2
            areas.append(above / (positive * negative))
    return torch.stack(areas).mean() if areas else torch.tensor(torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[place]


def _quadratic_kappa(counts: Tensor) -> Tensor:
    number = torch.arange(len(counts), dtype=torch.float64)
    weights = (number[:, None] - number) ** 2
    expected = counts.sum(1)[:, None] * counts.sum(0) / counts.sum()
    return 1 - (weights * counts).sum() / (weights * expected).sum()
