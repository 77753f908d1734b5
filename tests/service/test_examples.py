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
    assert len(found.runs) == (4 if found.searches else 12)
    assert sum(trials_of(search.request) for search in found.searches.values()) == (8 if found.searches else 0)
    assert not [run.refused for run in found.runs if run.refused]


def test_the_papers_own_row_is_searched_over_its_grid_on_every_task() -> None:
    data = {"task": {"path": "/data/vtab-1k"}}
    paper = {"benchmark": "vtab-1k", "rows": ["PACE"], "seeds": [0, 1, 2], "search": {}, "overrides": data}
    found = plan(SuiteRequest.model_validate(paper), load_catalogue())
    trials = sum(trials_of(search.request) for search in found.searches.values())
    assert (len(found.searches), trials, trials + len(found.runs)) == (19, 570, 627)


@pytest.mark.parametrize("example", STUDIES, ids=lambda path: path.name)
def test_the_first_trial_of_an_example_study_can_be(example: Path) -> None:
    asked = StudyRequest.model_validate(yaml.safe_load(example.read_text("utf-8")))
    found, spec, _ = resolved(asked, load_catalogue())
    assert trials_of(found) == 12
    assert rungs_of(found, spec.training.epochs) == [2, 4, 8]
