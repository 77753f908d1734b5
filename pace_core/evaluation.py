"""Measurements of a model on the samples that a phase holds out."""

import importlib
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import torch
from torch import Tensor

from pace_core import storage
from pace_core.answers import PREDICTIONS
from pace_core.csv_text import csv_text
from pace_core.data import Metric, ProblemSet, Splits, TextSet
from pace_core.diagnostics import Diagnostics
from pace_core.final_number import final_number, marked_number
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


def evaluation_of(state: State, splits: Splits, compute: Compute, diagnostics: bool) -> "Evaluation | Generation":
    """Returns what measures a run's model on the split that its phase holds out."""
    if isinstance(splits.measured[1], ProblemSet):
        return Generation(state, splits, compute)
    return Evaluation(state, splits, compute, diagnostics)


class Generation:
    """Measurements of a language model by the final numbers of the answers that it writes."""

    metric: Metric = "exact_match"

    def __init__(self, state: State, splits: Splits, compute: Compute) -> None:
        self._state, self._compute = state, compute
        self.split, held_out = splits.measured
        assert isinstance(held_out, ProblemSet)
        self._held_out, self._names = held_out, splits.measured_names
        self._last: tuple[int, list[str]] | None = None

    @property
    def count(self) -> int:
        """Problems that are measured."""
        return len(self._held_out)

    def label_counts(self, num_classes: int) -> list[int]:
        """Returns nothing: there are no classes."""
        return []

    def measure(self) -> dict[str, float]:
        """Returns `<split>/exact_match`, the share of problems whose final number is right."""
        return {f"{self.split}/{self.metric}": self._share(final_number)}

    def beside(self) -> dict[str, float]:
        """Returns `strict_match`, for which a number counts only behind `####`."""
        return {"strict_match": self._share(marked_number)}

    def measure_targets(self) -> list[Measured]:
        """Returns nothing: there are no other tests."""
        return []

    def save(self, folder: str) -> None:
        """Writes what the model wrote to each problem. Raises RunError as `storage.write`."""
        numbers = [final_number(reply) for reply in self._replies()]
        said = ["" if number is None else str(number) for number in numbers]
        rows = list(zip(self._names, self._held_out.numbers, said, self._replies(), strict=True))
        content = csv_text(("problem", "answer", "predicted", "reply"), rows)
        storage.write(storage.join(folder, PREDICTIONS), content.encode("utf-8", "backslashreplace"))

    def _share(self, number: Callable[[str], Decimal | None]) -> float:
        right = [
            number(reply) == Decimal(one) for reply, one in zip(self._replies(), self._held_out.numbers, strict=True)
        ]
        return sum(right) / len(right)

    def _replies(self) -> list[str]:
        step, compute = self._state.progress.step, self._compute
        if self._last is None or self._last[0] != step:
            generate = importlib.import_module("pace_core.training.generate")  # it loads `transformers`
            with trained_model(self._state):
                replies = generate.replies_of(
                    self._state.model,
                    self._held_out.problems,
                    self._held_out.new_tokens,
                    compute.preprocessing,
                    compute.precision,
                    compute.device,
                )
            self._last = step, replies
        return self._last[1]


class Evaluation:
    """Measurements of a run's model on the held-out split, with the diagnostics where they are asked for.

    Created before training, since the diagnostics keep what the model was at its start.
    """

    def __init__(self, state: State, splits: Splits, compute: Compute, diagnostics: bool) -> None:
        self._state, self._model, self._train = state, state.model, splits.train
        self.split, held_out = splits.measured
        assert not isinstance(held_out, ProblemSet)
        self._held_out = held_out
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
