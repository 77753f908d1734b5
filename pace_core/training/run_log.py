"""Sentences of a run's log. Accuracies are in percent, with the number of samples behind."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from pace_core.scores import of_each_class
from pace_core.spec import Reporter, RunSpec
from pace_core.spec.run_spec import MEASURED
from pace_core.spec.text import shown
from pace_core.training.checkpoint import Progress
from pace_core.training.schedule import learning_rate

_FAR = 2.0
"""Standard errors beyond which a difference is no accident."""
_WIDE = 0.05
"""A standard error that hides what most comparisons look for."""
_NAMED = 3
_RATE = "optimizer.lr"
SHARES = ("accuracy", "exact_match")
"""Metrics that are shares of the samples, and so have a standard error by their number alone."""


def say(reporter: Reporter, message: str, level: str = "info") -> None:
    """Adds a line to the run's log."""
    reporter.event("log", {"level": level, "message": message})


def training_lines(spec: RunSpec, steps: int, batch: str, sizes: dict[str, int], head: str) -> list[str]:
    """Returns how long the training is, and what is trained; `batch`: as 16 images, `sizes`: of what is trained."""
    of_head = sum(size for name, size in sizes.items() if name.startswith(head))
    epochs = spec.training.epochs
    length = f"{epochs} epoch{'s' * (epochs != 1)} of {steps} step{'s' * (steps != 1)} with {batch} each"
    trained = f"{sum(sizes.values()):,} parameters, {of_head:,} of them the classifier's"
    return [
        f"{spec.method.name} trains {trained}; regularizer {spec.regularizer.name}",
        length,
        MEASURED[spec.task.phase],
    ]


def epoch_line(
    epoch: int,
    epochs: int,
    values: dict[str, float],
    held_out: dict[str, float],
    measured: str | None,
    images_per_s: float,
    seconds_left: float,
) -> str:
    """Returns how one epoch went; `values`: the numbers of its metrics event, `held_out` those of held-out samples."""
    said = [f"loss {values['train/loss']:.4g}", f"lr {values['train/lr']:.2g}"]
    for name, value in list(held_out.items())[:1]:
        split, _, metric = name.partition("/")
        said.append(f"{split} {metric} {percent(value, measured) if metric in SHARES else f'{value:.4f}'}")
    said.append(f"{images_per_s:.0f} images/s")
    left = f", {duration(seconds_left)} left" if epoch < epochs else ""
    return f"epoch {epoch} of {epochs}: {', '.join(said)}{left}"


def result_line(split: str, value: float, count: int, metric: str = "accuracy", unit: str = "image") -> str:
    """Returns the final number; that of a share of the samples with its standard error."""
    of = samples(count, unit)
    if metric not in SHARES:
        return f"{split} {metric} {value:.4f} of {of}"
    error = 100 * standard_error(value, count)
    return f"{split} {metric} {percent(value, of)}, one standard error ± {error:.1f} points"


def least_accurate(counts: Tensor, class_names: Sequence[str], unit: str) -> str:
    """Returns the classes that are known least, out of the confusion matrix; nothing where all are known."""
    classes = zip(class_names, of_each_class(counts).tolist(), strict=True)
    found = [(accuracy, int(n), name) for name, (n, accuracy, *_) in classes]
    worst = sorted(one for one in found if one[1] and one[0] < 1)[:_NAMED]
    said = ", ".join(f"{shown(name, 40)} {percent(accuracy, samples(n, unit))}" for accuracy, n, name in worst)
    return f"least accurate classes: {said}" if said else ""


def warnings(
    spec: RunSpec, progress: Progress, split: str, accuracy: float, label_counts: Sequence[int], unit: str = "image"
) -> Iterator[str]:
    """Yields what makes a result doubtful, with the cure; `label_counts`: measured samples by class."""
    epochs, count = spec.training.epochs, sum(label_counts)
    if epochs > 0:
        yield from _at_chance(split, accuracy, samples(count, unit), count, max(label_counts) / count)
        yield from _never_warm(spec, progress.step)
    if len(progress.losses) > 1 and progress.losses[-1] >= progress.losses[0]:
        first, last = progress.losses[0], progress.losses[-1]
        fell = f"{first:.4g} in the first epoch, {last:.4g} in the last"
        yield f"the training loss did not fall: {fell}; try another {_RATE}"
    error = standard_error(accuracy, count)
    if error >= _WIDE:
        few = f"{samples(count, unit)} of {split} make one standard error ± {100 * error:.1f} points"
        yield f"{few}: smaller differences say nothing; measure on more of them, or over several seeds"


def _at_chance(split: str, accuracy: float, of: str, count: int, chance: float) -> Iterator[str]:
    margin = _FAR * math.sqrt(chance * (1 - chance) / count)
    if accuracy <= chance + margin:
        guess = f"always naming the commonest class gives {100 * chance:.1f} % (± {100 * margin:.1f} points by chance)"
        result = f"{split} accuracy {percent(accuracy, of)} is no better than chance"
        yield f"{result}: {guess}; look at the labels, train longer, or try another {_RATE}"


def _never_warm(spec: RunSpec, steps: int) -> Iterator[str]:
    training, lr = spec.training, spec.optimizer.lr
    per_epoch = max(1, steps // training.epochs)
    peak = max(learning_rate(training, lr, step, per_epoch) for step in range(max(1, steps)))
    if peak < lr / 2:
        reached = f"the learning rate never left the warm-up: {peak:.2g} of {lr:.2g} was reached in {steps} steps"
        yield f"{reached}; set training.warmup_epochs to 0, train longer, or use smaller batches"


def standard_error(accuracy: float, count: int) -> float:
    """Returns that of a share of `count` samples, after Agresti and Coull: 0 and 100 % are not certain."""
    share = (accuracy * count + 2) / (count + 4)
    return math.sqrt(share * (1 - share) / (count + 4))


def percent(share: float, of: str | None) -> str:
    """Returns `85.0 % of 200 images`."""
    return f"{100 * share:.1f} %" + (f" of {of}" if of is not None else "")


def samples(count: int, unit: str) -> str:
    """Returns `1 image`, `1,000 images`."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Returns `8 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
