"""Views of MLflow's runs table: which runs, which columns, and which charts in which sections. Plain functions.

MLflow keeps a view that somebody shares as a tag of the experiment, and its key in the link; so a link of ours opens on
the runs that it is about. The tag is set by the API; its value is what MLflow's own pages write there.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment

from pace_core.spec import load_benchmarks
from service.client import StudyRequest, StudyView, SuiteView
from worker import projection

TAG = "mlflow.sharedViewState."
AMONG_RUNS = "workflowType=machine_learning"
"""In an address of MLflow's pages: its mode for training models, since that for chats lists no runs."""
_IDENTITY = ("tags.`pace.task`", "tags.`pace.row`", "tags.`pace.seed`")
_WIDTHS = {"tags.`pace.task`": 170, "tags.`pace.row`": 170, "tags.`pace.seed`": 90, "metrics.`test/accuracy`": 120}
"""Columns that need another width than MLflow gives them, in pixels."""
_TERMS = ("", "_classification", "_consistency", "_alignment", "_gradient", "_features", "_change")
_COSTS = ("minutes", "peak_memory_mib", "images_per_s", "trainable_parameters")
_MOST_COMPARED = 6
"""Columns `vs/…` in one view: a suite of every published row would have dozens."""


@dataclass(frozen=True)
class View:
    """Runs of one experiment, as the table shows them."""

    key: str
    """The same for as long as what it is about, so that links outlive a change of its columns."""
    name: str
    filter: str
    """In MLflow's language; empty for all runs."""
    columns: tuple[str, ...]
    measured: tuple[str, ...]
    """Metrics that say how good a run is."""
    order_by: str
    ascending: bool
    created_ms: int

    def place(self, experiment: str) -> str:
        """Returns the view's place in MLflow's pages, under their address."""
        return f"#/experiments/{experiment}/runs?viewStateShareKey={self.key}&compareRunsMode=TABLE&{AMONG_RUNS}"

    def value(self) -> str:
        """Returns the tag's value: what is shown, compressed, with the name under which MLflow lists the view."""
        state = {
            "searchFilter": self.filter,
            "orderByKey": self.order_by,
            "orderByAsc": self.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": list(self.columns),
            "columnOrder": list(self.columns),
            "columnWidths": _WIDTHS,
            "runsHiddenMode": "FIRST_20_RUNS",
            "viewMaximized": False,
            "runListHidden": False,
            "groupBy": None,
            "groupsExpanded": {},
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
            "isAccordionReordered": True,  # else MLflow sorts the sections by name
            **_charts(self.measured),
        }
        packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
        envelope = {"name": self.name, "createdAt": self.created_ms, "updatedAt": self.created_ms}
        return json.dumps(envelope | {"state": f"deflate;{packed}"})


def of_experiment(experiment: Experiment) -> View:
    """Returns the view of all runs of jobs, the newest first."""
    benchmark = load_benchmarks().get(experiment.name)
    tasks = [task.name for task in benchmark.tasks] if benchmark else []
    measured = projection.measured_keys(experiment.name, tasks, benchmark.phase if benchmark else "final")
    return View(
        key="pace-all",
        name="All runs",
        filter=f"tags.`{projection.JOB_TAG}` != ''",
        columns=_columns(measured, projection.compared_keys(experiment.name, tasks, ("PACE",))),
        measured=tuple(measured),
        order_by="attributes.start_time",
        ascending=False,
        created_ms=experiment.creation_time or 0,
    )


def of_task(experiment: Experiment, task: str) -> View:
    """Returns the view of a task's runs, the best first; `task` with its benchmark's name."""
    short = task.removeprefix(f"{experiment.name}/")
    benchmark = load_benchmarks().get(experiment.name)
    measured = projection.measured_keys(experiment.name, [short], benchmark.phase if benchmark else "final")
    return View(
        key=f"pace-task-{hashlib.sha256(task.encode()).hexdigest()[:12]}",
        name=f"Task {projection.printable(short)}",
        filter=f"tags.`pace.task` {_equals(task)}",
        columns=_columns(measured, projection.compared_keys(experiment.name, [short], ("PACE",))),
        measured=tuple(measured),
        order_by=f"metrics.`{measured[0]}`",
        ascending=False,
        created_ms=experiment.creation_time or 0,
    )


def of_suite(suite: SuiteView) -> View:
    """Returns the view of a suite's runs, those of other suites that it reuses too, by task, row and seed."""
    measured = projection.measured_keys(suite.benchmark, suite.tasks, suite.phase)
    return View(
        key=suite.id,
        name=f"Suite {projection.name_of(suite)}",
        filter=f"tags.`{projection.MEMBER}{suite.id}` = 'yes'",
        columns=_columns(measured, projection.compared_keys(suite.benchmark, suite.tasks, suite.rows)),
        measured=tuple(measured),
        order_by="tags.`mlflow.runName`",
        ascending=True,
        created_ms=round(suite.created_at.timestamp() * 1000),
    )


def of_study(study: StudyView) -> View:
    """Returns the view of a study's trials with the fields that it searches, the best first."""
    request = StudyRequest.model_validate(study.request)
    fields = tuple(f"params.`{path}`" for path in request.space)
    (usual,) = projection.measured_keys(study.benchmark, [study.task], "search")
    metric = projection.slug_key(request.metric or usual)
    return View(
        key=study.id,
        name=f"Study {projection.name_of(study)}",
        filter=f"tags.`{projection.MEMBER}{study.id}` = 'yes'",
        columns=(*fields, f"metrics.`{metric}`", "metrics.`cost/minutes`"),
        measured=(metric,),
        order_by=f"metrics.`{metric}`",
        ascending=request.mode == "min",
        created_ms=round(study.created_at.timestamp() * 1000),
    )


class Views:
    """The views that MLflow has, each written once and again only where it changed."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._experiments: dict[str, Experiment] = {}
        self._known: dict[tuple[str, str], str] = {}

    def forget(self) -> None:
        """Forgets which there are."""
        self._experiments.clear()
        self._known.clear()

    def meet(self, experiment: Experiment) -> None:
        """Learns which views the experiment has, and gives it that of all its runs."""
        self._experiments[experiment.experiment_id] = experiment
        for tag, value in experiment.tags.items():
            if tag.startswith(TAG):
                self._known[experiment.experiment_id, tag.removeprefix(TAG)] = value
        self.keep(experiment.experiment_id, of_experiment(experiment))

    def show_task(self, experiment: str, task: str) -> None:
        """Gives an experiment that was met the view of this task."""
        self.keep(experiment, of_task(self._experiments[experiment], task))

    def keep(self, experiment: str, view: View) -> str:
        """Writes the view where it is new or changed; its place in MLflow's pages, under their address."""
        value = view.value()
        if self._known.get((experiment, view.key)) != value:
            self._client.set_experiment_tag(experiment, f"{TAG}{view.key}", value)
            self._known[experiment, view.key] = value
        return view.place(experiment)


def _columns(measured: Sequence[str], compared: Sequence[str]) -> tuple[str, ...]:
    metrics = (*measured, *compared[:_MOST_COMPARED], "cost/minutes")
    return (*_IDENTITY, *(f"metrics.`{key}`" for key in metrics))


def _charts(measured: Sequence[str]) -> dict[str, Any]:
    """Returns charts and their sections; `measured`: metrics that say how good a run is.

    MLflow adds a chart for every other metric, in a section by what stands before the slash; those of ours that nobody
    comes for first are closed.
    """
    curves = dict.fromkeys(f"val/{key.partition('/')[2]}" for key in measured)
    accuracy = [*(_line(key) for key in curves), *(_bar(key) for key in measured)]
    losses = [_line(f"train/loss{term}") for term in _TERMS]
    cost = [_bar(f"cost/{name}") for name in _COSTS] + [_bar("queued_s")]
    open_sections = {"Accuracy": accuracy, "Loss terms": losses, "Cost": cost}
    closed = ("train", "published", "vs", "Model metrics", "System metrics")
    sections = [_section(name, True) for name in open_sections] + [_section(name, False) for name in closed]
    charts = [card | {"metricSectionId": _id(name)} for name, cards in open_sections.items() for card in cards]
    return {"compareRunSections": sections, "compareRunCharts": charts}


def _section(name: str, shown: bool) -> dict[str, Any]:
    return {"uuid": _id(name), "name": name, "display": shown, "isReordered": False, "deleted": False}


def _line(key: str) -> dict[str, Any]:
    return _card("LINE", key) | {"selectedMetricKeys": [key], "xAxisKey": "step", "scaleType": "linear"}


def _bar(key: str) -> dict[str, Any]:
    return _card("BAR", key)


def _card(type: str, key: str) -> dict[str, Any]:
    uuid = f"pace-{type.lower()}-{key}"
    return {"uuid": uuid, "type": type, "metricKey": key, "deleted": False, "isGenerated": False}


def _id(section: str) -> str:
    return f"pace-{section.lower().replace(' ', '-')}"


def _equals(value: str) -> str:
    """Returns the rest of a condition in MLflow's language, which has no way to write a quote: any letter is taken."""
    return f"= '{value}'" if "'" not in value else "LIKE '" + value.replace("'", "_") + "'"
