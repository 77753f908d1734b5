"""Student's t: intervals and tests of a mean over few values."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Mean(NamedTuple):
    """A mean, its 95 % interval, and how likely one so far from zero is where the true one is zero."""

    value: float
    low: float | None
    """None below two values, as `high` and `p`."""
    high: float | None
    p: float | None


def mean_of(values: Sequence[float]) -> Mean:
    """Returns the mean of independent values with its interval and its two-sided test against zero."""
    value = statistics.fmean(values)
    if len(values) < 2:
        return Mean(value, None, None, None)
    freedom = len(values) - 1
    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = student_t(freedom) * error
    p = outside(abs(value) / error, freedom) if error > 0 else 1.0 if value == 0 else 0.0
    return Mean(value, value - reach, value + reach, p)


def student_t(freedom: float) -> float:
    """Returns the two-sided 95 % point of Student's t with that many degrees of freedom (at least one).

    The angle that holds 95 % is found by halving; see `_within`.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < CONFIDENCE else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def outside(t: float, freedom: float) -> float:
    """Returns the probability of a value beyond ±t: the two-sided p of a t-test."""
    return max(0.0, 1.0 - _within(math.atan(t / math.sqrt(freedom)), freedom))


def _within(angle: float, freedom: float) -> float:
    """The probability of a value within ±sqrt(freedom) tan(angle).

    With x = sqrt(freedom) tan(angle) the density becomes cos(angle)^(freedom - 1), smooth on a bounded interval: it is
    integrated by Simpson's rule.
    """
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)) / 2
    steps = 400
    width = angle / steps
    weights = (1 if i in (0, steps) else 4 if i % 2 else 2 for i in range(steps + 1))
    return sum(w * math.cos(i * width) ** (freedom - 1) for i, w in enumerate(weights)) * width / 3 / whole
