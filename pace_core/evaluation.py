"""Measurements of a model on the samples that a phase holds out."""

from typing import NamedTuple

import torch
from torch import Tensor

from pace_core.data import Metric, Splits, TextSet
from pace_core.diagnostics import Diagnostics
from pace_core.scores import confusion, scores, scores_of_regression, scores_of_texts
from pace_core.training.checkpoint import State, trained_model
from pace_core.training.compute import Compute
from pace_core.training.evaluate import accuracy, batches_of, logits_of, mean_loss, measured_by, only


class Measured(NamedTuple):
    """The accuracy in another test than the run's own."""

    task: str
    accuracy: float
    images: int
    logits: int
    """So many were compared."""


class Evaluation:
    """Measurements of a run's model on the held-out split, with the diagnostics where they are asked for.

    Created before training, since the diagnostics keep what the model was at its start.
    """

    def __init__(self, state: State, splits: Splits, compute: Compute, diagnostics: bool) -> None:
        self._state, self._model, self._train = state, state.model, splits.train
        self.split, self._held_out = splits.measured
        self.metric: Metric = splits.metric
        self._scored = splits.scored
        self._targets = splits.targets
        self._with = (compute.preprocessing, compute.precision, compute.device)
        self._diagnostics = Diagnostics(state.model) if diagnostics else None
        self._last: tuple[int, Tensor] | None = None

    @property
    def count(self) -> int:
        """Samples that are measured."""
        return len(self._held_out)

    def label_counts(self, num_classes: int) -> list[int]:
        """Returns how many of them each class has; none where labels are scores."""
        return [] if self._scored else torch.bincount(self._held_out.labels, minlength=num_classes).tolist()

    def measure(self) -> dict[str, float]:
        """Returns `<split>/<metric>` and the diagnostics, by the names under which they are reported."""
        with trained_model(self._state):
            return self._measure(self.split)

    def last_logits(self) -> Tensor:
        """Returns the logits of the held-out samples now; those of the last measurement where no step came after it."""
        step = self._state.progress.step
        if self._last is None or self._last[0] != step:
            with trained_model(self._state):
                self._last = step, logits_of(self._model, self._held_out, *self._with)
        return self._last[1]

    @property
    def labels(self) -> Tensor:
        """Labels of the held-out samples [N], int64, or scores."""
        return self._held_out.labels

    def beside(self) -> dict[str, float]:
        """Returns the other measures of the held-out samples by name."""
        logits = self.last_logits()
        if self._scored:
            return scores_of_regression(logits[:, 0], self.labels)
        found = {"accuracy": accuracy(logits, self.labels), **scores(logits, self.labels)}
        if isinstance(self._held_out, TextSet):
            found |= scores_of_texts(confusion(logits.argmax(1), self.labels, logits.shape[1]))
        return {name: value for name, value in found.items() if name != self.metric}

    def measure_targets(self) -> list[Measured]:
        """Measures each other test; of some, over their own classes' logits."""
        found: list[Measured] = []
        with trained_model(self._state):
            for target in self._targets:
                logits = logits_of(self._model, target.images, *self._with)
                compared = logits if target.classes is None else only(logits, target.classes)
                count = logits.shape[1] if target.classes is None else len(target.classes)
                labels = target.images.labels
                found.append(Measured(target.task, accuracy(compared, labels), len(labels), count))
        return found

    def _measure(self, split: str) -> dict[str, float]:
        logits = logits_of(self._model, self._held_out, *self._with)
        self._last = self._state.progress.step, logits
        values = {f"{split}/{self.metric}": measured_by(self.metric, logits, self._held_out.labels)}
        if self._diagnostics:
            fitted = logits_of(self._model, self._train, *self._with)
            values |= {
                f"{split}/loss": mean_loss(logits, self._held_out.labels),
                f"train_set/{self.metric}": measured_by(self.metric, fitted, self._train.labels),
                "train_set/loss": mean_loss(fitted, self._train.labels),
            }
            measured = self._diagnostics.measure(self._held_out, lambda images: batches_of(images, *self._with))
            values |= {f"{split}/{name}": value for name, value in measured.items()}
        return values
