"""Findings of a study as clients get them. Values are those of the metric, accuracies as fractions."""

from pydantic import BaseModel, ConfigDict

from service.studies.schemas import TrialView

_OUTPUT = ConfigDict(use_attribute_docstrings=True)


class PointView(BaseModel):
    """One trial's place on the map of two fields."""

    model_config = _OUTPUT

    trial: int
    x: str | bool | int | float | None
    y: str | bool | int | float | None
    value: float


class MapView(BaseModel):
    """Values over two fields: a heat map where both take few values."""

    model_config = _OUTPUT

    x: str
    y: str
    points: list[PointView]
    """Of the trials that ran longest."""


class CurveView(BaseModel):
    """A trial's values on validation images, evaluation by evaluation."""

    model_config = _OUTPUT

    trial: int
    rung: int
    epochs: list[int]
    values: list[float]


class StudyReport(BaseModel):
    """Findings of a study."""

    model_config = _OUTPUT

    metric: str
    mode: str
    best: TrialView | None
    samples: int | None
    """Validation images behind a value, where the runs say."""
    low: float | None
    """Ends of the 95 % interval of the best value, by Wilson's for shares of that many images: how far another draw of
    images might move it. None where the metric is no share."""
    high: float | None
    alike: list[int]
    """Other trials of as many epochs whose values lie within the interval: these images do not tell them apart."""
    importance: dict[str, float]
    map: MapView | None
    curves: list[CurveView]
    """Of each trial's longest rung."""
    trials: list[TrialView]
