"""The training loop. It is the same for all methods and regularizers: a regularizer owns what happens in a step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pace_core.noise import keyed_seed
from pace_core.spec import Interrupted, Reporter, RunError, RunSpec
from pace_core.training.batches import Batches
from pace_core.training.checkpoint import State
from pace_core.training.optimizer import clip_gradients, set_learning_rates
from pace_core.training.run_log import epoch_line, say
from pace_core.training.schedule import learning_rate

_SECONDS_BETWEEN_REPORTS = 1.0

Measure = Callable[[], dict[str, float]]
"""Held-out measurements by the names under which they are reported, that of the task's metric first."""


@dataclass(frozen=True)
class Speed:
    """Speed of the training in this attempt."""

    seconds: float
    images_per_s: float


def train(
    spec: RunSpec,
    state: State,
    batches: Batches,
    reporter: Reporter,
    save: Callable[[], None],
    measure: Measure | None,
    measured: str | None = None,
) -> Speed:
    """Trains from `state` to the last epoch.

    `save` writes a checkpoint of `state`. `measure` is called after every `eval_every` epochs and after the last; None
    measures nothing on the way. `measured`: the samples behind a measurement, as 200 images.

    Raises Interrupted with the checkpoint written, and RunError `nan`, the last good
    checkpoint kept.
    """
    training, progress, per_epoch = spec.training, state.progress, batches.steps_per_epoch
    total = training.epochs * per_epoch
    meter = _Meter(spec, state, batches, reporter)
    saved = progress.step
    while True:
        epoch, within = divmod(progress.step, per_epoch)
        if within == 0 and progress.sums:  # emptied below: a resumed run does not close an epoch twice
            due = epoch % training.eval_every == 0 or epoch == training.epochs
            held_out = measure() if measure and due else {}
            if held_out:
                progress.measured.append((epoch, next(iter(held_out.values()))))
            means = {f"train/{name}": value / progress.counts[name] for name, value in progress.sums.items()}
            rate = learning_rate(training, spec.optimizer.lr, progress.step - 1, per_epoch)
            values = {**means, "train/lr": rate, **held_out}
            reporter.event("metrics", {"epoch": epoch, "step": progress.step, "values": values})
            progress.losses.append(means.get("train/loss_classification", means["train/loss"]))
            speed = meter.speed().images_per_s
            left = (total - progress.step) * batches.batch_size / speed if speed else 0.0
            say(reporter, epoch_line(epoch, training.epochs, values, held_out, measured, speed, left))
            progress.sums.clear()
            progress.counts.clear()
        if progress.step == total:
            return meter.speed()
        set_learning_rates(state.optimizer, training, progress.step, per_epoch)
        # what torch itself draws (timm's drop path, dropout) must not depend on anything before this step either
        torch.manual_seed(keyed_seed(spec.seed, "torch", progress.step))
        state.optimizer.zero_grad(set_to_none=True)
        meter.add(state.regularizer.step(batches.batch(progress.step), progress.step).terms)
        clip_gradients(state.model, spec.optimizer.clip_norm)
        state.optimizer.step()
        state.regularizer.after_update()
        if state.average:
            state.average.update()
        progress.step += 1
        meter.report()
        directive = reporter.directive()
        last = progress.step == total
        if last or directive != "continue" or progress.step - saved >= training.checkpoint_every_steps:
            meter.settle()
            save()
            saved = progress.step
            reporter.event("checkpoint", {"epoch": progress.step // per_epoch, "step": progress.step})
        if directive != "continue" and not last:
            raise Interrupted(directive)


class _Meter:
    """Meter of the loss's terms: sums them, reports progress, and stops a run whose loss is not a number.

    On a GPU the terms stay there until they are reported: asking for them at every step would make it wait.
    """

    def __init__(self, spec: RunSpec, state: State, batches: Batches, reporter: Reporter) -> None:
        self._spec, self._progress, self._batches, self._reporter = spec, state.progress, batches, reporter
        self._pending: dict[str, Tensor] = {}
        self._first = state.progress.step
        self._begun = time.monotonic()
        self._reported = 0.0

    def add(self, terms: dict[str, Tensor]) -> None:
        """Takes one step's terms, before its update."""
        counts = self._progress.counts
        for name, value in terms.items():
            counts[name] = counts.get(name, 0) + 1
            self._pending[name] = self._pending[name] + value if name in self._pending else value
        if terms["loss"].device.type == "cpu":
            self.settle()

    def settle(self) -> None:
        """Brings the sums up to date. Raises RunError `nan`."""
        for name, value in self._pending.items():
            self._progress.sums[name] = self._progress.sums.get(name, 0.0) + float(value)
        self._pending.clear()
        if not math.isfinite(self._progress.sums.get("loss", 0.0)):
            epoch = self._progress.step // self._batches.steps_per_epoch
            message = f"the loss is not a finite number in epoch {epoch + 1}, by step {self._progress.step + 1}"
            weight = self._spec.regularizer.params.get("lambda")
            cure = "lower optimizer.lr" + (" or regularizer.lambda" if weight else "")
            raise RunError("nan", f"{message}; {cure} (now {self._spec.optimizer.lr:g}{_and(weight)})")

    def report(self) -> None:
        """Reports progress at the first step, every second, and at the end of an epoch."""
        now, step, per_epoch = time.monotonic(), self._progress.step, self._batches.steps_per_epoch
        if now - self._reported < _SECONDS_BETWEEN_REPORTS and step % per_epoch:
            return
        self._reported = now
        self.settle()
        self._reporter.event(
            "progress",
            {
                "epoch": (step - 1) // per_epoch + 1,
                "epochs": self._spec.training.epochs,
                "step": step,
                "steps": self._spec.training.epochs * per_epoch,
                "images_per_s": round(self.speed().images_per_s, 1),
            },
        )

    def speed(self) -> Speed:
        """Returns the speed of this attempt so far."""
        seconds = time.monotonic() - self._begun
        images = (self._progress.step - self._first) * self._batches.batch_size
        return Speed(seconds, images / seconds if images else 0.0)


def _and(weight: float | None) -> str:
    return f" and {weight:g}" if weight else ""
