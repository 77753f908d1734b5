"""PACE in HF `Trainer`: whoever computes the loss, the gradient of every update is that of a step by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pace_core.peft_trainer import PaceCallback
from pace_core.spec import RunError
from tests.pace_core.peft_training import (
    SIGMA,
    InOrder,
    Loss,
    Pictures,
    by_hand,
    close,
    model_of_user,
    trained,
    trainer,
)

ONE_OF, MANY, NUMBER = Pictures(6), Pictures(6, lambda n: [float(n >> b & 1) for b in range(5)]), Pictures(6, float)
MEAN_OF_SIX = 6


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum") / MEAN_OF_SIX


def weighted_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return weighted(outputs.logits, labels, num_items_in_batch)


def weighted(logits: Tensor, labels: Tensor, count: Any = MEAN_OF_SIX) -> Tensor:
    classes = torch.arange(1.0, 6.0, dtype=torch.float64)
    return (classes[labels] * F.cross_entropy(logits, labels, reduction="none")).sum() / count


class LabelsPopped(InOrder):
    """As in the documentation of `transformers`."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        loss = weighted(outputs.logits, labels, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class LossPassedOver(InOrder):
    """The model is given the labels and computes a loss, which nobody uses."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        loss = weighted(outputs.logits, inputs["labels"], num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


OWNERS: dict[str, tuple[Pictures, dict[str, Any], Loss]] = {
    "the model, one label": (ONE_OF, {}, cross_entropy),
    "the model, many labels": (
        MANY,
        {},
        lambda f, y: F.binary_cross_entropy_with_logits(f, y, reduction="sum") / (5 * MEAN_OF_SIX),
    ),
    "compute_loss_func": (ONE_OF, {"compute_loss_func": weighted_loss}, weighted),
    "smoothed labels": (
        ONE_OF,
        {"label_smoothing_factor": 0.2},
        lambda f, y: F.cross_entropy(f, y, reduction="sum", label_smoothing=0.2) / MEAN_OF_SIX,
    ),
    "a subclass, without labels": (ONE_OF, {"of": LabelsPopped}, weighted),
    "a subclass, with labels": (ONE_OF, {"of": LossPassedOver}, weighted),
}


@pytest.mark.parametrize("weight", [1.0, 100.0])
@pytest.mark.parametrize("owner", OWNERS)
def test_the_term_joins_the_loss_whoever_computes_it(owner: str, weight: float, tmp_path: Path) -> None:
    """An update of six samples in parts of four and two, as an epoch's last one often is."""
    data, given, loss = OWNERS[owner]
    model = model_of_user()
    expected = by_hand(model, data.parts(), loss, weight)
    close(trained(tmp_path, model, data, weight, gradient_accumulation_steps=2, **given).seen[0], expected)


def test_the_term_joins_the_loss_of_a_regression(tmp_path: Path) -> None:
    model = model_of_user(num_labels=1)
    expected = by_hand(model, NUMBER.parts(), lambda f, y: (f[:, 0] - y).square().sum() / MEAN_OF_SIX, 2.0)
    close(trained(tmp_path, model, NUMBER, 2.0, gradient_accumulation_steps=2).seen[0], expected)


def test_the_term_joins_where_many_labels_are_kept_from_the_model(tmp_path: Path) -> None:
    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs.logits, labels, reduction="sum") / num_items_in_batch

    data, _, task = OWNERS["the model, many labels"]
    whole = model_of_user()
    expected = by_hand(whole, data.parts(6), task, 3.0)
    given = {"compute_loss_func": loss, "per_device_train_batch_size": 6}
    close(trained(tmp_path, whole, data, 3.0, **given).seen[0], expected)
    with pytest.raises(RunError, match=r"cannot tell how many a sample has; set gradient_accumulation_steps to 1"):
        trained(tmp_path, model_of_user(), data, compute_loss_func=loss, gradient_accumulation_steps=2)


def test_ignored_labels_count_as_trainer_counts_them(tmp_path: Path) -> None:
    """A part without any label counts nothing, and is no NaN."""
    data = Pictures(8, lambda number: number % 5 if number < 3 else -100)
    model = model_of_user()
    gradients = trained(tmp_path, model_of_user(), data, 1.0, gradient_accumulation_steps=2).seen[0]
    first = by_hand(model, data.parts()[:1], lambda f, y: F.cross_entropy(f, y, reduction="sum") / 3, 1.0)
    close(gradients, first)


def test_every_update_of_an_epoch_has_the_draws_and_shares_of_its_own_parts(tmp_path: Path) -> None:
    """Five parts, two an update: the last one has a single part; with a learning rate of 0 nothing else changes."""
    data, model = Pictures(18), model_of_user()
    given = {"gradient_accumulation_steps": 2, "max_steps": 6, "learning_rate": 0.0, "compute_loss_func": weighted_loss}
    seen = trained(tmp_path, model, data, 5.0, **given).seen
    parts = data.parts()

    for update, of_update, samples in ((1, parts[2:4], 8), (2, parts[4:], 2), (5, parts[4:], 2)):
        expected = by_hand(model, of_update, lambda f, y, n=samples: weighted(f, y, n), 5.0, drawn=2 * update)
        close(seen[update], expected)


def test_the_log_has_the_loss_with_the_term_and_the_term_alone(tmp_path: Path) -> None:
    def logged(weight: float) -> dict[str, float]:
        made = trainer(tmp_path, model_of_user(), Pictures(), [PaceCallback(sigma=SIGMA, weight=weight)])
        made.train()
        return made.state.log_history[0]

    light, heavy = logged(1.0), logged(100.0)
    assert light["loss_consistency"] == pytest.approx(heavy["loss_consistency"])
    assert light["loss_consistency"] > 0
    assert heavy["loss"] - light["loss"] == pytest.approx(99 * light["loss_consistency"], rel=1e-3)
