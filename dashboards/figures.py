"""Drawings of curves for `ui.chart`: Plotly's data and layout, without colours."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.client.models import Point

Figure = dict[str, Any]


def curves(
    title: str,
    of: Mapping[str, Sequence[Point]],
    *,
    before: Mapping[str, Sequence[Point]] | None = None,
    line: tuple[str, float] | None = None,
    percent: bool = False,
) -> Figure:
    """Draws each of `of` over epochs, those of `before` thin and grey behind them, `line` as a level with its label."""
    scale = 100.0 if percent else 1.0
    grey = {"line": {"width": 1, "color": "rgba(128,128,128,.55)"}, "hoverinfo": "skip", "showlegend": False}
    data = [_trace(name, points, scale) | {"zorder": 1} for name, points in of.items()]
    data += [_trace(name, points, scale) | grey for name, points in (before or {}).items()]
    layout: Figure = {
        "title": {"text": title, "font": {"size": 14}},
        "xaxis": {"title": {"text": "epoch"}},
        "showlegend": len(of) > 1,
    }
    if line:
        label, value = line
        dashes = {"dash": "dash", "width": 1.5, "color": "rgba(128,128,128,.9)"}
        layout["shapes"] = [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": scale * value,
                "y1": scale * value,
                "line": dashes,
            }
        ]
        layout["annotations"] = [
            {"text": label, "xref": "paper", "x": 0, "xanchor": "left", "y": scale * value, "yanchor": "bottom",
             "showarrow": False}
        ]  # fmt: skip
    return {"data": data, "layout": layout}


def _trace(name: str, points: Sequence[Point], scale: float) -> Figure:
    found = [point for point in points if point.value is not None]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(found) < 12 else "lines",
        "marker": {"size": 5},
        "name": name,
        "x": [point.epoch if point.epoch is not None else point.step for point in found],
        "y": [scale * point.value for point in found if point.value is not None],
    }
