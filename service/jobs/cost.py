"""Cost of runs, from the measured time of runs like them."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Catalogue, RunSpec, estimate, expected_images

# A run's whole time over its epochs: start, evaluations and the adapter's file are in it, as in the next run's.
_RATES = text("""
    SELECT task, backbone, method, regularizer, avg(seconds / greatest(epochs, 1)) FROM (
        SELECT task, spec->'backbone'->>'name' AS backbone, spec->'method'->>'name' AS method,
               spec->'regularizer'->>'name' AS regularizer, (spec->'training'->>'epochs')::float AS epochs,
               (result->>'seconds')::float AS seconds
        FROM jobs WHERE project = :project AND state = 'succeeded' ORDER BY id DESC LIMIT 1000
    ) AS newest GROUP BY GROUPING SETS ((task, backbone, method, regularizer), (backbone, method, regularizer))
""")
Rates = Mapping[tuple[str | None, ...], float]
"""Task (or None: any), backbone, method and regularizer → seconds an epoch."""


class Cost(NamedTuple):
    """Seconds of one slot."""

    seconds: float | None
    """None where nothing is known."""
    measured: bool
    """Whether they come from runs like it, and are not an estimate for a CPU."""


async def rates_of(session: AsyncSession, project: str) -> Rates:
    """Returns the seconds an epoch of the project's newest runs."""
    return {tuple(key): rate for *key, rate in await session.execute(_RATES, {"project": project})}


def cost_of(spec: RunSpec, task: str, rates: Rates, catalogue: Catalogue) -> Cost:
    """Returns what one run of the spec takes: as the newest runs of the project with that method and regularizer on the
    task, else on any task, else as estimated."""
    names = (spec.backbone.name, spec.method.name, spec.regularizer.name)
    epochs = max(spec.training.epochs, 1)
    rate = rates.get((task, *names), rates.get((None, *names)))
    if rate is not None:
        return Cost(rate * epochs, True)
    said = estimate(spec, catalogue)
    if said.cpu_seconds_per_1000_images is None:
        return Cost(None, False)
    an_epoch = said.cpu_seconds_per_1000_images * expected_images(spec)["train"] / 1000
    return Cost(an_epoch * max(said.epochs, 1), False)
