"""The declaration of a regularizer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pace_core.registry import Entry, P
from pace_core.regularizers._step import Regularizer, StepContext


@dataclass(frozen=True, kw_only=True)
class Declaration(Entry[P]):
    """A regularizer as it can be named in a spec: what it asks of a method, what it costs, and how one is made."""

    make: Callable[[P, StepContext], Regularizer]
    """Returns the regularizer for one run."""
    needs: frozenset[str] = frozenset()
    """What it asks of the method's `gives`."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """For each of `needs`: a clause that says why."""
    passes: float = 1.0
    """Forward-backward passes of a sample per step, for estimates of time."""
    activation_factor: float = 1.0
    """What a step keeps for its backward pass, in units of a plain step's, for estimates of memory."""
    mixes: bool = True
    """Whether its samples may be mixtures of images (mixup, CutMix)."""
