"""A minute of `make chaos`: jobs that train while parts of the stack are killed and stopped at random moments."""

from typing import Any

import pytest

from tests.chaos.faults import Ground
from tests.chaos.seed import run_seed, undisturbed
from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]
SEED = 2
PARTS = ("api", "dispatcher", "actor", "postgres", "tracking")
"""Ray and MLflow take too long to be there again for a test among the others."""


def test_whatever_is_killed_or_stopped_no_job_is_lost_and_none_ends_twice(stack: Stack, quick: dict[str, Any]) -> None:
    adapters = undisturbed(stack, quick, different=2)
    outcome = run_seed(stack, Ground(stack.folder, parts=PARTS), quick, adapters, SEED, jobs=12, faults=6)
    assert outcome.trouble == []
    assert outcome.jobs == 12
    assert len(outcome.faults) == 6
