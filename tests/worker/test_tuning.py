"""What Ray Tune is asked to try: known points first, then points of the space."""

from typing import Any

import pytest

from service.client import Dimension
from service.studies.driver_schemas import StudyLease
from service.studies.schemas import Scheduler, Search, StudyRequest
from worker.tuning import scheduler, searcher

SPACE = {
    "optimizer.lr": Dimension(loguniform=(1e-4, 1e-1)),
    "optimizer.weight_decay": Dimension(uniform=(0.0, 0.1)),
    "method.name": Dimension(choice=["lora_add", "ssf"]),
    "method.rank": Dimension(integer=(1, 16), when={"method.name": "lora_add"}),
}
KNOWN = [
    {"optimizer.lr": 0.01, "optimizer.weight_decay": 0.05, "method.name": "lora_add", "method.rank": 4},
    {"optimizer.lr": 0.02, "optimizer.weight_decay": 0.01, "method.name": "ssf"},
]


def suggested(search: Search, known: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    request = StudyRequest(space=SPACE, search=search)
    lease = StudyLease(
        study="study_1", token="", request=request, known=known, trials=count, rungs=[1], concurrency=1, lease_s=60
    )
    asked = searcher(lease)
    points: list[dict[str, Any]] = []
    for number in range(count):
        points.append(asked.suggest(str(number)))
        asked.on_trial_complete(str(number), {"value": points[-1]["optimizer.lr"], "training_iteration": 1})
    return points


@pytest.mark.parametrize("search", ["random", "tpe", "gp"])
def test_known_points_come_first_and_all_lie_in_the_space(search: Search) -> None:
    points = suggested(search, KNOWN, 20)
    assert points[:2] == KNOWN
    for point in points:
        assert set(point) == set(SPACE) - ({"method.rank"} if point["method.name"] == "ssf" else set())
        assert all(SPACE[path].holds(value) for path, value in point.items())
    different = len({point["optimizer.lr"] for point in points})
    assert different == 20 or (search == "gp" and different >= 10), "a Gaussian process comes back to the best"


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_the_next_driver_draws_other_points_than_the_one_before(search: Search) -> None:
    first = suggested(search, [], 3)
    later = suggested(search, first, 6)
    assert later[:3] == first
    assert not {point["optimizer.lr"] for point in later[3:]} & {point["optimizer.lr"] for point in first}


class Trial:
    """What a scheduler of Tune sees of a trial."""

    def __init__(self, id: str) -> None:
        self.trial_id = self.id = id

    def __hash__(self) -> int:
        return hash(self.id)


def decisions(name: Scheduler, first: list[float]) -> list[str]:
    """What the scheduler says of trials that have these values after their first rung of 1, 3 and 9 epochs."""
    found = scheduler(StudyRequest(space=SPACE, scheduler=name), [1, 3, 9])
    assert found is not None
    found.set_search_properties("value", "max")
    said: list[str] = []
    for number, value in enumerate(first):
        trial: Any = Trial(str(number))
        controller: Any = None
        found.on_trial_add(controller, trial)
        said.append(found.on_trial_result(controller, trial, {"value": value, "epochs": 1}))
    return said


def test_asha_goes_on_with_the_best_third() -> None:
    assert decisions("asha", [0.5, 0.4, 0.3, 0.6, 0.1]) == ["CONTINUE", "STOP", "STOP", "CONTINUE", "STOP"]


def test_the_median_rule_goes_on_with_the_better_half_of_what_came_before() -> None:
    assert decisions("median", [0.5, 0.4, 0.3, 0.6, 0.1]) == ["CONTINUE", "CONTINUE", "CONTINUE", "CONTINUE", "STOP"]


def test_hyperband_lets_some_of_the_worst_go_on_to_a_longer_schedule() -> None:
    said = decisions("hyperband", [1 - number / 200 for number in range(200)])
    assert 200 * 0.02 < said.count("CONTINUE") < 200 * 0.9, "brackets that stop nothing so early, beside one that does"
    assert decisions("asha", [1 - number / 200 for number in range(200)]).count("CONTINUE") < said.count("CONTINUE")
