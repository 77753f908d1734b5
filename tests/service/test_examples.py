"""The suites in `examples/` can be submitted as they stand."""

from pathlib import Path

import pytest
import yaml

from pace_core.spec import load_catalogue
from service.suites.plan import plan
from service.suites.schemas import SuiteRequest

SUITES = sorted((Path(__file__).parents[2] / "examples" / "suites").glob("*.yaml"))


@pytest.mark.parametrize("example", SUITES, ids=lambda path: path.name)
def test_every_run_of_an_example_suite_can_be(example: Path) -> None:
    found = plan(SuiteRequest.model_validate(yaml.safe_load(example.read_text("utf-8"))), load_catalogue())
    assert len(found.runs) == 12
    assert not [run.refused for run in found.runs if run.refused]
