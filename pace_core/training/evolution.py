"""The evolutionary search among the architectures of a supernet (as AutoFormer's, which NOAH and GLoRA follow)."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from pace_core.network.search_space import Architecture, SearchParams, Space
from pace_core.spec import RunError

_TRIES = 10  # for each architecture that is wanted: new ones within the budget can be rare


@dataclass(frozen=True)
class Candidate:
    """An architecture and its accuracy on validation data."""

    architecture: Architecture
    fitness: float


def evolve(
    space: Space,
    params: SearchParams,
    budget: int,
    rng: random.Random,
    evaluate: Callable[[Architecture], float],
    report: Callable[[int, Candidate], None],
) -> Candidate:
    """Returns the fittest architecture of at most `budget` trained parameters; of equals, the one found first.

    What is evaluated, and in which order, follows from `rng` and the fitness of what came before: to replay a search,
    give the same numbers. `report` is called with the best so far after the first population (0) and after every
    generation. Raises RunError `spec_invalid` where nothing fits the budget.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    smallest = 0

    def take(propose: Callable[[], Architecture], number: int) -> None:
        """Evaluates up to so many architectures that are new and within the budget."""
        nonlocal smallest
        wanted = len(found) + number
        for _ in range(_TRIES * number):
            if len(found) == wanted:
                return
            architecture = propose()
            key, size = json.dumps(architecture), space.num_parameters(architecture)
            smallest = min(smallest or size, size)
            if key not in seen and size <= budget:
                seen.add(key)
                found.append(Candidate(architecture, evaluate(architecture)))

    def best(number: int) -> list[Candidate]:
        return sorted(found, key=lambda candidate: -candidate.fitness)[:number]

    def breed(parents: list[Architecture]) -> None:
        wanted = len(found) + params.population
        take(lambda: space.mutated(rng.choice(parents), rng), params.mutations)
        take(lambda: space.crossed(rng.choice(parents), rng.choice(parents), rng), params.crossovers)
        take(lambda: space.sample(rng), max(0, wanted - len(found)))

    take(lambda: space.sample(rng), params.population)
    if not found:
        message = f"{budget} is below every architecture that was drawn; the smallest has {smallest} parameters"
        raise RunError("spec_invalid", f"method.budget: {message}")
    report(0, best(1)[0])
    for generation in range(1, params.generations + 1):
        breed([candidate.architecture for candidate in best(params.parents)])
        report(generation, best(1)[0])
    return best(1)[0]
