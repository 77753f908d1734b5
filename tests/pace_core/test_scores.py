"""Measures beside accuracy, held to scikit-learn's."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from pace_core.scores import confusion, matthews, of_each_class, pearson, scores, scores_of_regression, scores_of_texts


def drawn(classes: int, images: int, missing: tuple[int, ...] = (), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that know something, with ties among them, and labels without some classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    for label in missing:
        labels[labels == label] = (label + 1) % classes
    logits = (torch.randn(images, classes, generator=generator) * 2).round() / 2
    logits[torch.arange(images), labels] += 1
    return logits, labels


@pytest.mark.parametrize(
    ("classes", "images", "missing"), [(2, 40, ()), (5, 200, ()), (5, 200, (2,)), (30, 60, (0, 7))]
)
def test_scores_are_those_of_scikit_learn(classes: int, images: int, missing: tuple[int, ...]) -> None:
    logits, labels = drawn(classes, images, missing)
    predicted, probabilities = logits.argmax(1), logits.double().softmax(1)
    present = [label for label in range(classes) if (labels == label).any()]
    areas = [metrics.roc_auc_score(labels == label, probabilities[:, label]) for label in present]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are answered and do not occur
        expected = {
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
            "auroc": np.mean(areas),
            "quadratic_kappa": metrics.cohen_kappa_score(
                labels, predicted, weights="quadratic", labels=list(range(classes))
            ),
        }
    assert scores(logits, labels) == pytest.approx(expected, abs=1e-12)


def test_matthews_by_hand() -> None:
    """3 right of the first class and 1 wrong, 4 right of the second and 2 wrong: (3·4 - 1·2) / √(5·5·4·6)."""
    counts = torch.tensor([[3, 1], [2, 4]])
    assert matthews(counts) == pytest.approx(10 / (5 * 5 * 4 * 6) ** 0.5)
    assert matthews(torch.tensor([[4, 0], [6, 0]])) == 0, "one answer for all"


def test_f1_by_hand() -> None:
    """Of the second class 2 found, 1 missed, 1 too many: 2·2 / (2·2 + 1 + 1)."""
    logits = torch.eye(2)[torch.tensor([1, 1, 0, 1, 0])]
    labels = torch.tensor([1, 1, 1, 0, 0])
    assert scores_of_texts(confusion(logits.argmax(1), labels, 2))["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [2, 4])
def test_what_texts_are_measured_by_is_that_of_scikit_learn(classes: int) -> None:
    logits, labels = drawn(classes, 90)
    predicted = logits.argmax(1)
    expected = {"matthews": metrics.matthews_corrcoef(labels, predicted)}
    if classes == 2:
        expected["f1"] = metrics.f1_score(labels, predicted)
    assert scores_of_texts(confusion(predicted, labels, classes)) == pytest.approx(expected)


def test_correlations_are_those_of_scipy_and_zero_where_there_is_none() -> None:
    outputs, labels = torch.tensor([0.1, 0.4, 0.4, 2.0, 1.5]), torch.tensor([1.0, 2.0, 3.0, 5.0, 4.0])
    assert pearson(outputs, labels) == pytest.approx(stats.pearsonr(outputs, labels)[0], abs=1e-7)
    found = scores_of_regression(outputs, labels)
    assert found["spearman"] == pytest.approx(stats.spearmanr(outputs, labels)[0], abs=1e-12)
    assert found["mean_squared_error"] == pytest.approx(((outputs - labels) ** 2).mean().item())
    assert pearson(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(3 / (28 / 3) ** 0.5)
    assert pearson(torch.ones(3), torch.tensor([1.0, 2.0, 3.0])) == 0


def test_each_class_is_measured_as_scikit_learn_does() -> None:
    logits, labels = drawn(6, 120, (3,))
    counts = confusion(logits.argmax(1), labels, 6)
    assert counts.tolist() == metrics.confusion_matrix(labels, logits.argmax(1), labels=list(range(6))).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, support = metrics.precision_recall_fscore_support(
            labels, logits.argmax(1), labels=list(range(6)), zero_division=np.nan
        )
    found = of_each_class(counts).numpy()
    np.testing.assert_allclose(found[:, 0], support)
    np.testing.assert_allclose(found[:, 1], recall)
    np.testing.assert_allclose(found[:, 2], precision)
    np.testing.assert_allclose(found[:3, 3], f1[:3])


def test_what_is_not_defined_is_left_out_and_what_is_perfect_is_one() -> None:
    labels = torch.tensor([1, 1, 1])
    of_one = scores(torch.eye(3)[labels], labels)
    assert of_one == {"balanced_accuracy": 1.0, "macro_f1": 1.0}
    every = torch.tensor([0, 1, 2, 2])
    assert set(scores(torch.eye(3)[every], every).values()) == {1.0}
