"""The suites and studies in `examples/` can be submitted as they stand."""

from pathlib import Path

import pytest
import yaml

from pace_core.spec import load_catalogue
from service.studies.schemas import StudyRequest
from service.studies.space import rungs_of, trials_of
from service.studies.submission import resolved
from service.suites.plan import plan
from service.suites.schemas import SuiteRequest

EXAMPLES = Path(__file__).parents[2] / "examples"
SUITES = sorted((EXAMPLES / "suites").glob("*.yaml"))
STUDIES = sorted((EXAMPLES / "studies").glob("*.yaml"))


@pytest.mark.parametrize("example", SUITES, ids=lambda path: path.name)
def test_every_run_of_an_example_suite_can_be(example: Path) -> None:
    found = plan(SuiteRequest.model_validate(yaml.safe_load(example.read_text("utf-8"))), load_catalogue())
    assert len(found.runs) == 12
    assert not [run.refused for run in found.runs if run.refused]


@pytest.mark.parametrize("example", STUDIES, ids=lambda path: path.name)
def test_the_first_trial_of_an_example_study_can_be(example: Path) -> None:
    asked = StudyRequest.model_validate(yaml.safe_load(example.read_text("utf-8")))
    found, spec, _ = resolved(asked, load_catalogue())
    assert trials_of(found) == 12
    assert rungs_of(found, spec.training.epochs) == [2, 4, 8]
