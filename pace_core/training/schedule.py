"""The learning rate: linear warm-up, then a cosine or a line."""

import math

from pace_core.spec import Training


def learning_rate(training: Training, lr: float, step: int, steps_per_epoch: int) -> float:
    """Returns the learning rate of an optimizer step, 0-based over the whole run.

    Per epoch, as the authors' code: the scheduler is stepped after each epoch with that epoch's number, so epochs 0 and
    1 both run at warmup_lr and everything lags one epoch. Per step: no lag.
    """
    epoch = max(step // steps_per_epoch - 1, 0) if training.schedule == "epoch" else step / steps_per_epoch
    if epoch < training.warmup:
        return training.warmup_lr + epoch * (lr - training.warmup_lr) / training.warmup
    if training.schedule == "linear":
        return training.min_lr + (lr - training.min_lr) * (training.epochs - epoch) / (
            training.epochs - training.warmup
        )
    done = math.cos(math.pi * epoch / training.epochs)
    return training.min_lr + 0.5 * (lr - training.min_lr) * (1 + done)
