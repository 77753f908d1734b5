"""Declaration of a method that searches for its architecture: the architectures, and how a supernet becomes one.

Its declaration has `search` among its stages and a `space`, and its parameters have a field `architecture` (None: to be
searched). A model that is adapted without an architecture is the supernet. A trained tensor of an architecture is the
leading part of the supernet's tensor of the same name, in every dimension.
"""

import random
from typing import Any, Protocol

from pydantic import Field

from pace_core.spec import ParamsModel

Architecture = dict[str, list[Any]]
"""As the method's `architecture` says it: plain JSON data."""


class Space(Protocol):
    """The architectures of one supernet. Draws come from `rng` alone."""

    def sample(self, rng: random.Random) -> Architecture:
        """Draws a random architecture, as the supernet trains it."""
        ...

    def mutated(self, parent: Architecture, rng: random.Random) -> Architecture:
        """Returns the parent with random changes."""
        ...

    def crossed(self, first: Architecture, second: Architecture, rng: random.Random) -> Architecture:
        """Returns a child with parts of both."""
        ...

    def num_parameters(self, architecture: Architecture) -> int:
        """Counts the trained parameters without the head."""
        ...

    def configure(self, architecture: Architecture) -> None:
        """Makes the supernet compute what this architecture would with the supernet's weights."""
        ...


class SearchParams(ParamsModel):
    """The evolutionary search: fitness is accuracy on validation data with the supernet's weights."""

    population: int = Field(default=50, ge=2)
    """Architectures that begin, and new ones a generation."""
    parents: int = Field(default=10, ge=2)
    """The best so far, from which mutations and crossovers come."""
    mutations: int = Field(default=25, ge=0)
    """Of a generation's new architectures: parents with random changes."""
    crossovers: int = Field(default=25, ge=0)
    """Of a generation's new architectures: children of two parents; random ones fill up the rest."""
    generations: int = Field(default=20, ge=0)
    """Rounds after the first population."""
    mutation_rate: float = Field(default=0.2, gt=0, le=1)
    """Probability with which a mutation draws a choice anew."""
