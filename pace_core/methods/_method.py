"""The declaration of a method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pace_core.network.parts import Family
from pace_core.network.search_space import Space
from pace_core.registry import Entry, P


def all_decayed(name: str) -> bool:
    """Returns False for every parameter: none is exempt from weight decay."""
    return False


@dataclass(frozen=True, kw_only=True)
class Method(Entry[P]):
    """A method: how it adapts a pretrained network, and what can be asked of the result."""

    adapt: Callable[[Any, P, torch.Generator], None]
    """Adapts a network in place: freezes it, adds what is trained, and starts the head anew. Draws come from the
    generator alone. Raises RunError `spec_invalid` for a network that it cannot adapt."""
    fits: frozenset[Family]
    """Families of networks that it can adapt."""
    gives: frozenset[str] = frozenset()
    """`delta`: its layers offer base(x) and delta(x) separately. `merged`: it merges into the base weights exactly."""
    starts_pretrained: bool = True
    """Whether the features are the pretrained network's before the first step."""
    freezes_features: bool = False
    """Whether the backbone's own weights and layers are left as they are, so that stochastic depth only adds noise."""
    undecayed: Callable[[str], bool] = all_decayed
    """Tells by its name in the model whether a trained parameter is exempt from weight decay."""
    stages: tuple[str, ...] = ("train",)
    """Stages of a run whose spec leaves the architecture open."""
    space: Callable[[Any, P], Space] | None = None
    """Returns the architectures of an adapted supernet; None for a method that does not search."""
    published_counts: Sequence[tuple[Mapping[str, Any], int]] = ()
    """Pairs of parameters and the published number of trained parameters without the head, on ViT-B/16."""
    text_counts: Sequence[tuple[Mapping[str, Any], int]] = ()
    """The same on RoBERTa-base, without the classifier."""
