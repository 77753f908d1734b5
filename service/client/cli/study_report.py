"""Plan and findings of a study, as people read them."""

from collections.abc import Sequence
from typing import Any

from service.client import Client, StudyReport, StudyRequest, StudyView
from service.client.address import how_to_open
from service.client.cli.leaderboard import print_leaderboard
from service.client.cli.output import cell, out, plain, print_table, print_text, shown_state, table
from service.client.cli.plan_cost import count, print_cost
from service.studies.schemas import StudyPlan, sort_key

_SHOWN = 10
_BARS = "▁▂▃▄▅▆▇█"


def print_study_plan(plan: StudyPlan, request: StudyRequest) -> None:
    """Prints how much a study would run, and what that takes."""
    rungs = " → ".join(map(str, plan.rungs))
    most = "" if request.scheduler == "none" else "about "
    final = count(plan.final, "final run")
    print_text(
        f"{plan.trials} trials by {request.search}, scheduler {request.scheduler}: {rungs} epochs on validation "
        f"images, {most}{plan.epochs:,} together; then {final} of the best"
    )
    print_cost(plan, "as runs like them took" if plan.measured else "estimated for a CPU")


def print_study(client: Client, study: StudyView) -> None:
    """Prints the best trials with their curves, the interval, what matters, the map, and the table of the best.

    Accuracies are in percent, values of other metrics as they are.
    """
    counts = ", ".join(f"{count} {state}" for state, count in sorted(study.counts.items()))
    out().print(f"{study.id}  {cell(study.name)}  {shown_state(study.state)}  {counts}; {study.epochs_spent:,} epochs")
    if study.message:
        print_text(f"  {study.message}")
    report = client.studies.report(study.id)
    sign = -1 if report.mode == "max" else 1
    measured = sorted(
        (t for t in report.trials if t.value is not None), key=lambda t: (-t.epochs, sign * (t.value or 0))
    )
    paths = list(dict.fromkeys(path for trial in report.trials for path in trial.config))
    curves = {curve.trial: curve.values for curve in report.curves}
    shown = table(
        ">trial", *(f">{cell(path)}" for path in paths), ">epochs", f">{cell(report.metric)}", "curve", "state"
    )
    for trial in measured[:_SHOWN]:
        values = (_value(trial.config.get(path)) for path in paths)
        curve = _curve(curves.get(trial.number, []))
        shown.add_row(
            str(trial.number), *values, str(trial.epochs), said(trial.value, report.metric), curve, trial.state
        )
    print_table(shown)
    if len(measured) > _SHOWN:
        print_text(f"  and {len(measured) - _SHOWN} more: pace study show {study.id} --csv")
    for trial in [t for t in report.trials if t.message][:_SHOWN]:
        print_text(f"  trial {trial.number} failed: {trial.message}")
    _print_confidence(report)
    if report.importance:
        shares = ", ".join(f"{cell(path)} {100 * share:.0f} %" for path, share in report.importance.items())
        out().print(f"  share of the variance explained by each field: {shares}")
    _print_map(report)
    if study.mlflow_url:
        out().print(f"  trials, in MLflow: {plain(how_to_open(study.mlflow_url, client.address.url))}")
    if study.suite:
        out().print()
        print_leaderboard(client.suites.table(study.suite))


def _print_confidence(report: StudyReport) -> None:
    if report.best is None or report.low is None or report.high is None:
        return
    others = f"{len(report.alike)} other{'' if len(report.alike) == 1 else 's'} of as many epochs"
    told = f"{others} lie{'s' if len(report.alike) == 1 else ''} within" if report.alike else "no other lies within"
    best, low, high = (said(value, report.metric) for value in (report.best.value, report.low, report.high))
    print_text(f"  best {best}, on {report.samples:,} images: 95 % interval {low} to {high}; {told}")


def _curve(values: Sequence[float]) -> str:
    """A bar an evaluation, from the lowest of the trial to its highest; the last ten."""
    last = values[-10:]
    span = max(last, default=0.0) - min(last, default=0.0)
    return "".join(_BARS[int((value - min(last)) / span * 7)] if span else _BARS[0] for value in last)


def _print_map(report: StudyReport) -> None:
    """Prints what each pair of values reached, where there are few of them."""
    if report.map is None:
        return
    points = report.map.points
    xs, ys = (sorted({getattr(point, axis) for point in points}, key=sort_key) for axis in ("x", "y"))
    if not 1 < len(xs) <= _SHOWN or not 1 < len(ys) <= _SHOWN:
        return
    better = max if report.mode == "max" else min
    shown = table(f"{cell(report.map.y)} \\ {cell(report.map.x)}", *(f">{_value(x)}" for x in xs))
    for y in ys:
        found = [[point.value for point in points if (point.x, point.y) == (x, y)] for x in xs]
        shown.add_row(_value(y), *(said(better(values), report.metric) if values else "–" for values in found))
    print_table(shown)


def said(value: float | None, metric: str) -> str:
    """Returns an accuracy in percent, a value of any other metric as it is."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if metric.rpartition("/")[2].startswith("accuracy") else f"{value:.4g}"


def _value(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else cell(value)
