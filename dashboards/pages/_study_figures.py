"""Drawings of what a study found out, for Plotly: data and layout without colours of the page."""

from collections.abc import Sequence
from typing import Any

from service.client import StudyReport, TrialView

_CURVES = 60
"""So many trials' curves are drawn, the best: more cannot be told apart."""
_SCALE = "Viridis"

Figure = dict[str, Any]


def figures(report: StudyReport) -> list[tuple[str, Figure, str]]:
    """Returns what there is to draw by now: id, figure, and what it shows in words."""
    found = [_map(report), _parallel(report), _importance(report), _curves(report)]
    return [figure for figure in found if figure is not None]


def best_first(report: StudyReport) -> list[TrialView]:
    """Returns the trials with a value, the best of those that ran longest first; then the others."""
    sign = 1 if report.mode == "min" else -1
    return sorted(report.trials, key=lambda trial: (trial.value is None, -trial.epochs, sign * (trial.value or 0.0)))


def _map(report: StudyReport) -> tuple[str, Figure, str] | None:
    found = report.map
    if found is None or not found.points:
        return None
    xs, ys = _in_order([point.x for point in found.points]), _in_order([point.y for point in found.points])
    title = f"{found.x} × {found.y}"
    said = f"{title}: {report.metric} of {len(found.points)} trials, over {len(xs)} and {len(ys)} values"
    layout: Figure = {"xaxis": {"title": {"text": found.x}}, "yaxis": {"title": {"text": found.y}}}
    if len(xs) * len(ys) > 4 * len(found.points) + 4:  # values drawn from ranges: hardly any field is met twice
        marker = {"color": [point.value for point in found.points], "colorscale": _SCALE, "showscale": True, "size": 11}
        data: Figure = {
            "type": "scatter",
            "mode": "markers",
            "x": [point.x for point in found.points],
            "y": [point.y for point in found.points],
            "text": [f"trial {point.trial}: {point.value:.4g}" for point in found.points],
            "hoverinfo": "text",
            "marker": marker,
        }
        for name, values in (("xaxis", xs), ("yaxis", ys)):
            layout[name] |= {"type": "log"} if _over_orders(values) else {}
        return "map", {"data": [data], "layout": layout}, said
    at = {(str(point.x), str(point.y)): point for point in found.points}
    cells = [[at.get((str(x), str(y))) for x in xs] for y in ys]
    data = {
        "type": "heatmap",
        "x": [_written(x) for x in xs],
        "y": [_written(y) for y in ys],
        "z": [[cell and cell.value for cell in row] for row in cells],
        "text": [[f"{cell.value:.3g}" if cell else "" for cell in row] for row in cells],
        "texttemplate": "%{text}",
        "colorscale": _SCALE,
        "reversescale": report.mode == "min",
        "xgap": 2,
        "ygap": 2,
    }
    layout["xaxis"] |= {"type": "category"}
    layout["yaxis"] |= {"type": "category"}
    return "map", {"data": [data], "layout": layout}, said


def _parallel(report: StudyReport) -> tuple[str, Figure, str] | None:
    trials = [trial for trial in report.trials if trial.value is not None]
    fields = sorted({field for trial in trials for field in trial.config})
    if len(trials) < 2 or not fields:
        return None
    dimensions = [_dimension(field, [trial.config.get(field) for trial in trials]) for field in fields]
    values = [trial.value for trial in trials]
    dimensions.append({"label": report.metric, "values": values})
    line = {"color": values, "colorscale": _SCALE, "showscale": False, "reversescale": report.mode == "min"}
    data = {"type": "parcoords", "dimensions": dimensions, "line": line}
    said = f"Settings and {report.metric} of {len(trials)} trials, a line each"
    return "parallel", {"data": [data], "layout": {"margin": {"l": 70, "r": 40, "t": 50, "b": 24}}}, said


def _dimension(field: str, values: Sequence[Any]) -> Figure:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return {"label": field, "values": list(values)}
    known = _in_order(values)
    places = {str(value): place for place, value in enumerate(known)}
    return {
        "label": field,
        "values": [places[str(value)] for value in values],
        "tickvals": list(range(len(known))),
        "ticktext": [_written(value) for value in known],
    }


def _importance(report: StudyReport) -> tuple[str, Figure, str] | None:
    if not report.importance:
        return None
    ranked = sorted(report.importance.items(), key=lambda pair: pair[1])
    data = {"type": "bar", "orientation": "h", "x": [share for _, share in ranked], "y": [name for name, _ in ranked]}
    layout = {"xaxis": {"title": {"text": "share of the variance"}, "range": [0, 1]}, "yaxis": {"type": "category"}}
    said = "Importance: " + ", ".join(f"{name} {share:.0%}" for name, share in reversed(ranked))
    return "importance", {"data": [data], "layout": layout}, said


def _curves(report: StudyReport) -> tuple[str, Figure, str] | None:
    places = {trial.number: place for place, trial in enumerate(best_first(report))}
    shown = sorted(report.curves, key=lambda curve: places.get(curve.trial, len(places)))[:_CURVES]
    if not shown:
        return None
    best = report.best.number if report.best else None
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"trial {curve.trial}, rung {curve.rung}",
            "x": curve.epochs,
            "y": curve.values,
            "opacity": 1.0 if curve.trial == best else 0.45,
            "line": {"width": 3 if curve.trial == best else 1.2},
            "showlegend": curve.trial == best or len(shown) <= 6,
        }
        for curve in shown
    ]
    layout = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": report.metric}}}
    said = f"{report.metric} over epochs of {len(shown)} trials, each in its longest rung"
    return "curves", {"data": data, "layout": layout}, said


def _in_order(values: Sequence[Any]) -> list[Any]:
    known = {str(value): value for value in values}.values()
    numbers = all(isinstance(value, int | float) for value in known)
    return sorted(known) if numbers else sorted(known, key=str)


def _over_orders(values: Sequence[Any]) -> bool:
    numbers = all(isinstance(value, int | float) and value > 0 for value in values)
    return numbers and max(values) > 30 * min(values)


def _written(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
