"""Sentences of a run's log. Accuracies are in percent, with the number of images behind."""

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


def say(reporter: Reporter, message: str, level: str = "info") -> None:
    """Adds a line to the run's log."""
    reporter.event("log", {"level": level, "message": message})


def training_lines(spec: RunSpec, steps: int, batch_size: int, sizes: dict[str, int], head: str) -> list[str]:
    """Returns how long the training is, and what is trained; `sizes`: trained parameters by name."""
    of_head = sum(size for name, size in sizes.items() if name.startswith(head))
    epochs = spec.training.epochs
    length = f"{epochs} epoch{'s' * (epochs != 1)} of {steps} step{'s' * (steps != 1)} with {images(batch_size)} each"
    trained = f"{sum(sizes.values()):,} parameters, {of_head:,} of them the classifier's"
    return [
        f"{spec.method.name} trains {trained}; regularizer {spec.regularizer.name}",
        length,
        MEASURED[spec.task.phase],
    ]


def epoch_line(
    epoch: int, epochs: int, values: dict[str, float], measured: int | None, images_per_s: float, seconds_left: float
) -> str:
    """Returns how one epoch went; `values`: the numbers of its metrics event."""
    said = [f"loss {values['train/loss']:.4g}", f"lr {values['train/lr']:.2g}"]
    if "val/accuracy" in values:
        said.append(f"val accuracy {percent(values['val/accuracy'], measured)}")
    said.append(f"{images_per_s:.0f} images/s")
    left = f", {duration(seconds_left)} left" if epoch < epochs else ""
    return f"epoch {epoch} of {epochs}: {', '.join(said)}{left}"


def result_line(split: str, accuracy: float, count: int) -> str:
    """Returns the final number with its standard error."""
    error = 100 * standard_error(accuracy, count)
    return f"{split} accuracy {percent(accuracy, count)}, one standard error ± {error:.1f} points"


def least_accurate(counts: Tensor, class_names: Sequence[str]) -> str:
    """Returns the classes that are known least, out of the confusion matrix; nothing where all are known."""
    classes = zip(class_names, of_each_class(counts).tolist(), strict=True)
    found = [(accuracy, int(n), name) for name, (n, accuracy, *_) in classes]
    worst = sorted(one for one in found if one[1] and one[0] < 1)[:_NAMED]
    said = ", ".join(f"{shown(name, 40)} {percent(accuracy, n)}" for accuracy, n, name in worst)
    return f"least accurate classes: {said}" if said else ""


def warnings(
    spec: RunSpec, progress: Progress, split: str, accuracy: float, label_counts: Sequence[int]
) -> Iterator[str]:
    """Yields what makes a result doubtful, with the cure; `label_counts`: measured images by class."""
    epochs, count = spec.training.epochs, sum(label_counts)
    if epochs > 0:
        yield from _at_chance(split, accuracy, count, max(label_counts) / count)
        yield from _never_warm(spec, progress.step)
    if len(progress.losses) > 1 and progress.losses[-1] >= progress.losses[0]:
        first, last = progress.losses[0], progress.losses[-1]
        fell = f"{first:.4g} in the first epoch, {last:.4g} in the last"
        yield f"the training loss did not fall: {fell}; try another {_RATE}"
    error = standard_error(accuracy, count)
    if error >= _WIDE:
        few = f"{images(count)} of {split} make one standard error ± {100 * error:.1f} points"
        yield f"{few}: smaller differences say nothing; measure on more images, or over several seeds"


def _at_chance(split: str, accuracy: float, count: int, chance: float) -> Iterator[str]:
    margin = _FAR * math.sqrt(chance * (1 - chance) / count)
    if accuracy <= chance + margin:
        guess = f"always naming the commonest class gives {100 * chance:.1f} % (± {100 * margin:.1f} points by chance)"
        result = f"{split} accuracy {percent(accuracy, count)} is no better than chance"
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


def percent(accuracy: float, count: int | None) -> str:
    """Returns `85.0 % of 200 images`."""
    return f"{100 * accuracy:.1f} %" + (f" of {images(count)}" if count is not None else "")


def images(count: int) -> str:
    """Returns `1 image`, `1,000 images`."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Returns `8 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
