"""A study's pictures, and what matters in it."""

from typing import Any, Literal
from xml.etree import ElementTree

import pytest

from service.client import StudyReport, StudyRequest
from service.studies.report_schemas import CurveView, MapView, PointView
from service.studies.schemas import TrialView
from worker.study_pictures import files, grid_of
from worker.study_record import importance

SIGMAS, LAMBDAS = [0.1, 0.5, 1.0], [0.02, 0.1, 0.5]
REQUEST = StudyRequest(spec={}, space={"regularizer.sigma": SIGMAS, "regularizer.lambda": LAMBDAS})  # pyright: ignore[reportArgumentType]


def report(mode: Literal["max", "min"] = "max", **more: Any) -> StudyReport:
    """Nine trials: sigma moves the value ten times as far as lambda does."""
    trials: list[TrialView] = []
    for number, (sigma, weight) in enumerate((s, w) for s in SIGMAS for w in LAMBDAS):
        config = {"regularizer.sigma": sigma, "regularizer.lambda": weight}
        value = 0.5 + 0.3 * sigma + 0.03 * weight
        trials.append(
            TrialView(number=number, config=config, state="finished", value=value, epochs=3, message=None, rungs=[])
        )
    points = [
        PointView(trial=t.number, x=t.config["regularizer.sigma"], y=t.config["regularizer.lambda"], value=t.value or 0)
        for t in trials
    ]
    said: dict[str, Any] = {
        "metric": "val/accuracy",
        "mode": mode,
        "best": trials[-1] if mode == "max" else trials[0],
        "samples": 200,
        "low": 0.7,
        "high": 0.9,
        "alike": [],
        "importance": {},
        "map": MapView(x="regularizer.sigma", y="regularizer.lambda", points=points),
        "curves": [CurveView(trial=t.number, rung=0, epochs=[1, 3], values=[0.4, t.value or 0]) for t in trials],
        "trials": trials,
    }
    return StudyReport.model_validate(said | more)


def test_fanova_says_which_field_matters() -> None:
    shares = importance(report(), REQUEST)
    assert list(shares) == ["regularizer.sigma", "regularizer.lambda"]
    assert shares["regularizer.sigma"] > 0.9
    assert sum(shares.values()) == pytest.approx(1.0)


def test_nothing_is_said_of_too_few_trials_or_of_equal_ones() -> None:
    whole = report()
    assert importance(report(trials=whole.trials[:3], best=whole.trials[2]), REQUEST) == {}
    same = [trial.model_copy(update={"value": 0.5}) for trial in whole.trials]
    assert importance(report(trials=same, best=same[0]), REQUEST) == {}


def test_the_map_holds_the_best_value_of_each_pair() -> None:
    xs, ys, values = grid_of(report())
    assert (xs, ys) == (SIGMAS, LAMBDAS)
    assert values[2][1] == pytest.approx(0.5 + 0.15 + 0.015)


def test_there_is_a_picture_of_each_kind_and_a_page_that_needs_no_other_file() -> None:
    found = files(report(importance={"regularizer.sigma": 0.9, "regularizer.lambda": 0.1}), REQUEST)
    assert found.keys() == {
        *("heat_map.svg", "importance.svg", "learning_curves.svg", "parallel_coordinates.svg"),
        "study.html",
    }
    for name, text in found.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(text.encode()).tag == "{http://www.w3.org/2000/svg}svg"
    page = found["study.html"]
    assert "Plotly.newPlot" in page
    assert "src=" not in page[page.rindex("</script>") - 2_000 :]
    assert page.count("<script") > page.count("https://cdn")


def test_a_study_without_results_has_no_pictures() -> None:
    assert files(report(trials=[], best=None, curves=[], map=None), REQUEST) == {}
