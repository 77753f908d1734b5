"""Pictures of the theory, and the numbers that they show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from perf.theory_runs import (
    GRID_LAMBDAS,
    IMAGES,
    INTERVALS,
    LAMBDAS,
    NETWORKS,
    NONE,
    SIGMAS,
    STRONG,
    Outcome,
    Outcomes,
    lazy,
    noise,
    spec_of,
)

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "pace", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"  # told apart without colour vision too
NORMS = {"gradient_norm_loss": "gradient norm of the loss", "gradient_norm_output": "gradient norm of the output"}


def draw(outcomes: Outcomes, tasks: list[str], folder: Path) -> list[Path]:
    """Writes one SVG a figure; a picture whose runs are not all there leaves out what it lacks."""
    pictures = {
        "figure_3_epochs": _epochs,
        "figure_5_lambda": _weights,
        "figure_6_networks": _networks,
        "figure_7_sigma_lambda": _grid,
        "theorem_1_gap": _gap,
    }
    return [_saved(make(outcomes, tasks), folder / f"{name}.svg") for name, make in pictures.items()]


def numbers(outcomes: Outcomes, tasks: list[str]) -> dict[str, float]:
    """Prints what the pictures show, and gives the rank correlations by a name that MLflow takes."""
    found: dict[str, float] = {}
    for task in tasks:
        print(f"\n{task}: each epoch's gradient norm of loss and output, FP-distance, train and validation accuracy")
        for label, outcome, _ in _shown(outcomes, task):
            if outcome:
                names = [*(f"val/{norm}" for norm in NORMS), "val/fp_distance", "train_set/accuracy", "val/accuracy"]
                print(f"  {label:<22}", *(" ".join(f"{v:9.4g}" for v in outcome.series(name)) + " |" for name in names))
        print(
            f"{task}: over epochs, mean ± std of the gradient norms of loss and output; last FP-distance and accuracy"
        )
        for name in ("pace", "fpa"):
            swept = _swept(outcomes, task, name)
            for weight, o in swept:
                if o.failed:
                    print(f"  {name:<5} {weight:<7g} {o.failed}")
                    continue
                spread = " ".join(f"{np.mean(s):9.4g} ± {np.std(s):<9.4g}" for s in _norms(o))
                print(
                    f"  {name:<5} {weight:<7g} {spread} {o.last('val/fp_distance'):9.4g} {o.last('val/accuracy'):6.3f}"
                )
            for norm, values in zip(
                NORMS, zip(*(map(np.mean, _norms(o)) for _, o in swept), strict=True), strict=False
            ):
                found[f"{task}/rank_correlation/{name}_lambda_{norm}"] = _ranks([w for w, _ in swept], list(values))
        points = [(n, o) for _, n, o in _by_images(outcomes, task)]
        for images, o in points:
            fit, norms = o.last("train_set/loss"), (f"{o.last(f'test/{norm}'):.4g}" for norm in NORMS)
            said = f"gap {_gap_of(o):7.3f} (training loss {fit:.3f}), gradient norms {' '.join(norms)}"
            print(f"  {images:>5} images  {o.spec.regularizer.name:<5} {said}")
        for norm in NORMS:
            against = [o.last(f"test/{norm}") for _, o in points]
            found[f"{task}/rank_correlation/gap_{norm}"] = _ranks([_gap_of(o) for _, o in points], against)
        found[f"{task}/rank_correlation/gap_images"] = _ranks([_gap_of(o) for _, o in points], [n for n, _ in points])
    print(f"\n{tasks[0]}: validation accuracy")
    for title, axis, make in _sweeps(tasks[0]):
        print(f"  {title}: ", *(f"{v:g}: {_accuracy(outcomes, tasks[0], make(v)):.3f} " for v in axis))
    for sigma in SIGMAS:
        row = (_accuracy(outcomes, tasks[0], {"sigma": sigma, "lambda": w}) for w in GRID_LAMBDAS)
        print(f"  sigma {sigma:g}, lambda {GRID_LAMBDAS}: ", *(f"{value:.3f}" for value in row))
    print("\nrank correlations (Spearman)")
    for name, value in found.items():
        print(f"  {value:6.2f}  {name}")
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _swept(outcomes: Outcomes, task: str, name: str) -> list[tuple[float, Outcome]]:
    """Figure 5's runs of a regularizer."""
    return [(w, o) for w in LAMBDAS if (o := outcomes.of(spec_of(task, {"name": name, "lambda": w})))]


def _shown(outcomes: Outcomes, task: str) -> list[tuple[str, Outcome | None, dict[str, Any]]]:
    """Figure 3's runs with their label and line."""
    chosen = {
        "baseline": (NONE, {"color": GREY}),
        "noise": (noise(task), {"color": GREY, "linestyle": ":"}),
        "PACE, as in the recipe": ({}, {"color": BLUE, "linestyle": "--"}),
        f"PACE, λ {STRONG:g}": ({"lambda": STRONG}, {"color": BLUE}),
        f"FPA, λ {STRONG:g}": ({"name": "fpa", "lambda": STRONG}, {"color": ORANGE}),
    }
    return [(label, outcomes.of(spec_of(task, what)), line) for label, (what, line) in chosen.items()]


def _epochs(outcomes: Outcomes, tasks: list[str]) -> Figure:
    panels = {**{f"val/{norm}": title for norm, title in NORMS.items()}, "val/fp_distance": "FP-distance"}
    figure, axes = plt.subplots(len(tasks), 4, figsize=(15, 3.4 * len(tasks)), squeeze=False, layout="constrained")
    for task, row in zip(tasks, axes, strict=True):
        for label, outcome, line in _shown(outcomes, task):
            if outcome is None:
                continue
            for axis, name in zip(row, panels, strict=False):
                _curve(axis, outcome.series(name), label=label, **line)
            _curve(row[3], outcome.series("val/accuracy"), **line)
            _curve(row[3], outcome.series("train_set/accuracy"), alpha=0.4, **line)
        for axis, title in zip(row, [*panels.values(), "accuracy: validation, pale: training"], strict=True):
            axis.set(xlabel="epoch", title=title)
        row[0].set(ylabel=task)
        row[0].legend(fontsize=8)
    return figure


def _weights(outcomes: Outcomes, tasks: list[str]) -> Figure:
    figure, axes = plt.subplots(len(tasks), 3, figsize=(13, 3.4 * len(tasks)), squeeze=False, layout="constrained")
    for task, row in zip(tasks, axes, strict=True):
        for name, colour in (("pace", BLUE), ("fpa", ORANGE)):
            swept = [(w, o) for w, o in _swept(outcomes, task, name) if not o.failed]  # the others are in the numbers
            weights = [w for w, _ in swept]
            for axis, norm in zip(row, NORMS, strict=False):
                series = [o.series(f"val/{norm}") for _, o in swept]
                spread = [np.std(s) for s in series]
                axis.errorbar(
                    weights, [np.mean(s) for s in series], spread, color=colour, marker="o", label=name, capsize=3
                )
            distances = [o.last("val/fp_distance") for _, o in swept]
            row[2].plot(weights, distances, color=colour, marker="o", label=name)
        for label, what, dashes in (("baseline", NONE, "-"), ("noise", noise(task), ":")):
            if outcome := outcomes.of(spec_of(task, what)):
                levels = [*map(np.mean, _norms(outcome)), outcome.last("val/fp_distance")]
                for axis, level in zip(row, levels, strict=True):
                    axis.axhline(level, color=GREY, linestyle=dashes, label=label)
        for axis, title in zip(row, [*NORMS.values(), "FP-distance after the last epoch"], strict=True):
            axis.set(xscale="log", yscale="log", xlabel="λ", title=title)
        row[0].set(ylabel=f"{task}: mean ± std over epochs")
        row[0].legend(fontsize=8)
    return figure


def _sweeps(task: str) -> list[tuple[str, tuple[int, ...], Callable[[int], dict[str, Any]]]]:
    return [
        ("draws of each sample, M", NETWORKS, lambda count: {"networks": count}),
        ("steps between terms, N (lazy, half batch)", INTERVALS, lambda interval: lazy(task, interval)),
    ]


def _networks(outcomes: Outcomes, tasks: list[str]) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, (title, values, make) in zip(axes, _sweeps(tasks[0]), strict=True):
        axis.plot(values, [_accuracy(outcomes, tasks[0], make(v)) for v in values], color=BLUE, marker="o")
        axis.set(title=title, xticks=values)
    axes[0].set(ylabel=f"{tasks[0]}: validation accuracy")
    return figure


def _grid(outcomes: Outcomes, tasks: list[str]) -> Figure:
    table = [[_accuracy(outcomes, tasks[0], {"sigma": s, "lambda": w}) for w in GRID_LAMBDAS] for s in SIGMAS]
    figure, axis = plt.subplots(figsize=(4.6, 4), layout="constrained")
    image = axis.imshow(table, cmap="Blues", aspect="auto")
    for (y, x), value in np.ndenumerate(np.array(table)):
        axis.text(
            x, y, f"{100 * value:.1f}", ha="center", va="center", color="black", fontsize=9, backgroundcolor="white"
        )
    axis.set(xlabel="λ", ylabel="σ", title=f"{tasks[0]}: validation accuracy, %")
    axis.set_xticks(range(len(GRID_LAMBDAS)), map(str, GRID_LAMBDAS))
    axis.set_yticks(range(len(SIGMAS)), map(str, SIGMAS))
    figure.colorbar(image)
    return figure


def _gap(outcomes: Outcomes, tasks: list[str]) -> Figure:
    figure, axes = plt.subplots(len(tasks), 2, figsize=(9, 3.4 * len(tasks)), squeeze=False, layout="constrained")
    for task, row in zip(tasks, axes, strict=True):
        points = _by_images(outcomes, task)
        for axis, (norm, title) in zip(row, NORMS.items(), strict=True):
            for label, colour, above in (("baseline", GREY, 3), (f"PACE, λ {STRONG:g}", BLUE, -9)):
                own = [(images, o.last(f"test/{norm}"), _gap_of(o)) for name, images, o in points if name == label]
                axis.scatter([x for _, x, _ in own], [y for _, _, y in own], color=colour, label=label)
                for images, x, y in own:
                    axis.annotate(f"{images} images", (x, y), xytext=(5, above), textcoords="offset points", fontsize=7)
            axis.set(xlabel=f"{title}, test images", title=task)
            axis.margins(0.15)
        row[0].set(ylabel="test loss − training loss")
        row[0].legend(fontsize=8)
    return figure


def _by_images(outcomes: Outcomes, task: str) -> list[tuple[str, int, Outcome]]:
    return [
        (label, images, outcome)
        for label, what in (("baseline", NONE), (f"PACE, λ {STRONG:g}", {"lambda": STRONG}))
        for images in IMAGES
        if (outcome := outcomes.of(spec_of(task, what, images))) and not outcome.failed
    ]


def _gap_of(outcome: Outcome) -> float:
    return outcome.last("test/loss") - outcome.last("train_set/loss")


def _norms(outcome: Outcome) -> list[list[float]]:
    return [outcome.series(f"val/{norm}") for norm in NORMS]


def _accuracy(outcomes: Outcomes, task: str, what: dict[str, Any]) -> float:
    outcome = outcomes.of(spec_of(task, what, diagnostics=False))
    return outcome.last("val/accuracy") if outcome else float("nan")


def _curve(axis: Axes, values: list[float], **line: Any) -> None:
    axis.plot(range(1, len(values) + 1), values, marker=".", **line)
    axis.set_xticks(range(1, len(values) + 1))


def _ranks(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation; equal values share a rank."""
    first, second = (_rank(np.array(values)) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1]) if len(a) > 2 else float("nan")


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    below, equal = values[:, None] > values, values[:, None] == values
    return below.sum(1) + equal.sum(1) / 2


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
