"""A study's pictures, drawn by Optuna: as SVG, and as one page to touch."""

import io
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import optuna
from matplotlib import pyplot
from matplotlib.figure import Figure
from optuna import visualization as interactive
from optuna.visualization import matplotlib as drawn
from plotly import graph_objects

from service.client import StudyReport, StudyRequest
from worker.study_record import rebuilt

mpl.use("Agg")


def files(report: StudyReport, request: StudyRequest) -> dict[str, str]:
    """Returns name → text: a picture each, and `study.html` with all of them to touch, which needs no other file."""
    study = rebuilt(report, request)
    if not study.trials:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its pictures experimental
        pictures = {f"{name}.svg": _svg(draw(study)) for name, draw in _drawn(report).items()}
        pages = [draw(study) for draw in _interactive(report).values()]
    parts = [page.to_html(full_html=False, include_plotlyjs=index == 0) for index, page in enumerate(pages)]
    page = "<!doctype html><meta charset='utf-8'><title>Study</title>" + "\n".join(parts)
    return pictures | {"study.html": page}


def _drawn(report: StudyReport) -> dict[str, Callable[[optuna.Study], Any]]:
    found: dict[str, Callable[[optuna.Study], Any]] = {
        "learning_curves": drawn.plot_intermediate_values,
        "parallel_coordinates": drawn.plot_parallel_coordinate,
    }
    if report.importance:
        found["importance"] = lambda study: drawn.plot_param_importances(study, evaluator=_Known(report.importance))
    if report.map is not None and report.map.points:
        found["heat_map"] = lambda _: _heat_map(report)
    return found


def _interactive(report: StudyReport) -> dict[str, Callable[[optuna.Study], graph_objects.Figure]]:
    found: dict[str, Callable[[optuna.Study], graph_objects.Figure]] = {}
    if report.map is not None and report.map.points:
        found["heat_map"] = lambda _: _heat_page(report)
    if report.importance:
        found["importance"] = lambda study: interactive.plot_param_importances(
            study, evaluator=_Known(report.importance)
        )
    return found | {
        "parallel_coordinates": interactive.plot_parallel_coordinate,
        "learning_curves": interactive.plot_intermediate_values,
        "history": interactive.plot_optimization_history,
    }


class _Known(optuna.importance.BaseImportanceEvaluator):
    """An evaluator that says what is known, so that every picture shows the service's numbers."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = dict(shares)

    def evaluate(self, study: optuna.Study, params: Any = None, *, target: Any = None) -> dict[str, float]:
        return self._shares


def grid_of(report: StudyReport) -> tuple[list[Any], list[Any], list[list[float]]]:
    """Returns the map's values of x and y in order, and y × x the best value there; NaN where nothing was tried."""
    assert report.map is not None
    points, better = report.map.points, max if report.mode == "max" else min
    xs, ys = (sorted({getattr(p, axis) for p in points}, key=_by_size) for axis in ("x", "y"))
    cells: dict[tuple[Any, Any], float] = {}
    for point in points:
        cells[point.x, point.y] = better(point.value, cells.get((point.x, point.y), point.value))
    return xs, ys, [[cells.get((x, y), math.nan) for x in xs] for y in ys]


def _by_size(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, str(value))


_MOST_CELLS = 20


def _heat_map(report: StudyReport) -> Any:
    """A grid of cells; of ranges, every trial as a dot."""
    assert report.map is not None
    axes = Figure(figsize=(7, 4.5), layout="constrained").subplots()
    xs, ys, values = grid_of(report)
    if max(len(xs), len(ys)) <= _MOST_CELLS and len(xs) * len(ys) <= 2 * len(report.map.points):
        shown: Any = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis")
        axes.grid(visible=False)
        axes.set_xticks(range(len(xs)), [f"{x:g}" if isinstance(x, float) else str(x) for x in xs])
        axes.set_yticks(range(len(ys)), [f"{y:g}" if isinstance(y, float) else str(y) for y in ys])
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if not math.isnan(value):
                    ink = "black" if shown.norm(value) > 0.6 else "white"  # the colours grow lighter
                    axes.text(column, row, f"{value:#.3g}", ha="center", va="center", color=ink, fontsize=9)
    else:
        points = report.map.points
        shown = axes.scatter([p.x for p in points], [p.y for p in points], c=[p.value for p in points], cmap="viridis")
    axes.set_xlabel(report.map.x)
    axes.set_ylabel(report.map.y)
    axes.figure.colorbar(shown, label=report.metric)
    return axes


def _heat_page(report: StudyReport) -> graph_objects.Figure:
    assert report.map is not None
    xs, ys, values = grid_of(report)
    said = [[None if math.isnan(value) else value for value in line] for line in values]
    heat = graph_objects.Heatmap(
        x=[str(x) for x in xs], y=[str(y) for y in ys], z=said, colorscale="Viridis", colorbar={"title": report.metric}
    )
    figure = graph_objects.Figure(heat)
    figure.update_layout(title="Best value", xaxis_title=report.map.x, yaxis_title=report.map.y)
    return figure


def _svg(axes: Any) -> str:
    figure: Figure = (axes if hasattr(axes, "figure") else axes.flat[0]).figure
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight")
    pyplot.close(figure)
    return text.getvalue()
