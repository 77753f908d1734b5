"""The space of a study: its default, its points as specs, the rungs of a trial."""

import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pace_core.spec import merged
from service.studies.schemas import MOST_TRIALS, Dimension, SearchSettings

PAPERS_GRID = {
    "regularizer.lambda": Dimension(choice=[0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
    "regularizer.sigma": Dimension(choice=[0.1, 0.5, 1.0, 1.5, 2.0]),
}
"""PACE's own search on VTAB-1K (Ni, Zhang and Koniusz, NeurIPS 2024, appendix): 30 settings a task."""
_TRIALS = 30
_EVALUATIONS = 10
"""On validation images in a schedule, where the spec does not say: the last of them are averaged."""


def grid(space: Mapping[str, Dimension]) -> Iterator[dict[str, Any]]:
    """Returns every combination of choices, fields left out where their condition does not hold; no point twice."""
    seen: set[str] = set()
    for values in itertools.product(*(dimension.choice or [] for dimension in space.values())):
        point = reduced(dict(zip(space, values, strict=True)), space)
        if key_of(point) not in seen:
            seen.add(key_of(point))
            yield point


def reduced(point: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Returns the point without the fields whose condition does not hold."""
    return {
        path: value
        for path, value in point.items()
        if path not in space or all(point.get(other) == wanted for other, wanted in space[path].when.items())
    }


def key_of(point: Mapping[str, Any]) -> str:
    """Returns a text that is equal for equal points."""
    return json.dumps(point, sort_keys=True)


def trials_of(request: SearchSettings) -> int:
    """Returns how many trials a request asks for."""
    if request.search != "grid":
        return request.trials or _TRIALS
    whole = math.prod(len(dimension.choice or []) for dimension in request.space.values())
    conditional = any(dimension.when for dimension in request.space.values())
    return sum(1 for _ in grid(request.space)) if conditional and whole <= MOST_TRIALS else whole


def rungs_of(request: SearchSettings, epochs: int) -> list[int]:
    """Returns the epochs of each rung, the last of them the whole schedule's.

    One between the first and the last is left out where it costs more than it saves: where its epochs are more than
    those that the trials stopped after it would have had.
    """
    if request.scheduler == "none":
        return [epochs]
    rung = request.min_epochs or max(1, epochs // request.reduction**3)
    found: list[int] = []
    while rung < epochs and (not found or rung <= epochs * (1 - 1 / request.reduction)):
        found.append(rung)
        rung *= request.reduction
    return [*found, epochs]


def expected_epochs(request: SearchSettings, rungs: Sequence[int]) -> int:
    """Returns the epochs of all trials together if the scheduler stops as many as it is there to after each rung: asha
    all but one in `reduction`, the median half of them."""
    going_on = 0.5 if request.scheduler == "median" else 1 / request.reduction
    before = [0, *rungs] if request.rungs == "one_run" else [0] * len(rungs)
    each = sum(going_on**rung * (epochs - before[rung]) for rung, epochs in enumerate(rungs))
    return min(math.ceil(trials_of(request) * each), request.budget.epochs or sys.maxsize)


def laid_over(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the raw spec with the trial's fields set."""
    raw = dict(base)
    for path, value in config.items():
        section, _, field = path.partition(".")
        raw = merged(raw, {section: {field: value}})
    return raw


def spec_of(
    base: Mapping[str, Any], config: Mapping[str, Any], request: SearchSettings, whole: int, rung: int, seed: int
) -> dict[str, Any]:
    """Returns the raw spec of a trial's rung, measured on validation images: a whole schedule of the rung's epochs, or
    of all `whole` where all rungs are one run."""
    raw = laid_over(base, config)
    rungs = rungs_of(request, whole)
    epochs = whole if request.rungs == "one_run" else rungs[rung]
    training: dict[str, Any] = {"epochs": epochs}
    given: Mapping[str, Any] = raw.get("training") or {}
    warmup = given.get("warmup_epochs")
    if isinstance(warmup, int | float) and whole:
        training["warmup_epochs"] = warmup * epochs / whole
    if request.rungs == "one_run" and len(rungs) > 1:
        every = max(1, rungs[0] // request.average_over)
        training["eval_every"] = every if rungs[0] % every == 0 else 1  # so that every rung is evaluated
    elif "eval_every" not in given:
        training["eval_every"] = max(1, epochs // _EVALUATIONS)
    return merged(raw, {"training": training, "task": {"phase": "search"}}) | {"seed": seed}
