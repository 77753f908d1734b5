"""The runs behind the pictures of the theory: which ones, how one is made, and what is kept of it."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from pace_core.provenance import code_version
from pace_core.run import run
from pace_core.spec import RESULTS_VERSION, Directive, RunError, RunSpec, spec_of_recipe, validate
from perf.rows import RECIPE

ROW = "PACE"
LAMBDAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
STRONG = 100.0  # of LAMBDAS, where the term is felt under the row's little noise
SIGMAS, GRID_LAMBDAS = (0.1, 0.5, 1.0), (0.02, 0.1, 0.5)
NETWORKS, INTERVALS = (2, 3, 4), (1, 2, 4)
IMAGES = (100, 300, 1000)
NONE: dict[str, Any] = {"name": "none"}


def spec_of(
    task: str, regularizer: dict[str, Any], train_images: int | None = None, diagnostics: bool = True
) -> RunSpec:
    """The row's spec under another regularizer (parameters alone keep PACE and change these).

    Measured on the validation images after every epoch. With `train_images`: on the test images after as many steps as
    1,000 images take in the recipe's epochs, so that the number of images is all that differs.
    """
    training: dict[str, Any] = {"diagnostics": diagnostics, "eval_every": 1}
    data: dict[str, Any] = {"phase": "search"}
    if train_images:
        data = {"phase": "final", "train_images": train_images}
        usual = validate(spec_of_recipe(RECIPE, ROW, task)).training
        longer = 1000 / train_images
        training |= {"epochs": round(usual.epochs * longer), "warmup_epochs": usual.warmup_epochs * longer}
    over = {
        "regularizer": regularizer,
        "task": data,
        "training": training,
        "resources": {"threads": 1, "device": "cpu"},
    }
    return validate(spec_of_recipe(RECIPE, ROW, task, over))


def of_row(task: str, *names: str) -> dict[str, Any]:
    """Parameters of the row's regularizer."""
    params = validate(spec_of_recipe(RECIPE, ROW, task)).regularizer.params
    return {name: params[name] for name in names}


def planned(tasks: list[str]) -> Iterator[RunSpec]:
    """Every run of the pictures; some serve several. The grid, and the numbers of draws, on the first task alone."""
    for task in tasks:
        yield from (spec_of(task, chosen) for chosen in (NONE, noise(task), {}))
        for weight in LAMBDAS:
            yield spec_of(task, {"lambda": weight})
            yield spec_of(task, {"name": "fpa", "lambda": weight})
        for images in IMAGES:
            yield from (spec_of(task, chosen, images) for chosen in (NONE, {"lambda": STRONG}))
    for sigma in SIGMAS:
        yield from (spec_of(tasks[0], {"sigma": sigma, "lambda": w}, diagnostics=False) for w in GRID_LAMBDAS)
    yield from (spec_of(tasks[0], {"networks": count}, diagnostics=False) for count in NETWORKS)
    yield from (spec_of(tasks[0], lazy(tasks[0], interval), diagnostics=False) for interval in INTERVALS)


def noise(task: str) -> dict[str, Any]:
    """The row's noise without its term."""
    return {"name": "noise", **of_row(task, "sigma")}


def lazy(task: str, interval: int) -> dict[str, Any]:
    """The row's noise and weight, the term every `interval` steps."""
    return {"name": "pace_lazy_half", "interval": interval, **of_row(task, "sigma", "lambda")}


class Outcome(BaseModel):
    """One run's measurements."""

    spec: RunSpec
    results_version: int
    code_version: str
    epochs: dict[int, dict[str, float]]
    """Epoch → what was measured after it."""
    failed: str | None
    seconds: float

    def series(self, name: str) -> list[float]:
        """A measurement over the epochs that have it."""
        return [values[name] for _, values in sorted(self.epochs.items()) if name in values]

    def last(self, name: str) -> float:
        """After the last epoch; not a number where the run failed."""
        return self.series(name)[-1] if not self.failed else float("nan")

    @property
    def label(self) -> str:
        """The run in a line."""
        chosen, images = self.spec.regularizer, self.spec.task.params.get("train_images")
        said = " ".join(f"{key} {value}" for key, value in chosen.params.items() if not isinstance(value, str))
        return f"{self.spec.task.name}  {chosen.name} {said}" + (f"  {images} images" if images else "")


class Outcomes:
    """Finished runs, found by their specs."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self._by_spec = {o.spec.model_dump_json(): o for o in outcomes if o.results_version == RESULTS_VERSION}

    def __len__(self) -> int:
        return len(self._by_spec)

    def of(self, spec: RunSpec) -> Outcome | None:
        """None where it has not run."""
        return self._by_spec.get(spec.model_dump_json())


class Told:
    """Keeps a run's measurements by epoch."""

    def __init__(self) -> None:
        self.epochs: dict[int, dict[str, float]] = {}

    def event(self, type: str, data: dict[str, Any]) -> None:
        if type == "metrics":
            self.epochs.setdefault(data["epoch"], {}).update(data["values"])

    def directive(self) -> Directive:
        return "continue"


def trained(spec: RunSpec) -> Outcome:
    """Runs it here; a loss that becomes no number is an outcome too."""
    told, begun, failed = Told(), time.monotonic(), None
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(spec, told, folder)
        except RunError as error:
            failed = str(error)
    return Outcome(
        spec=spec,
        results_version=RESULTS_VERSION,
        code_version=code_version(),
        epochs=told.epochs,
        failed=failed,
        seconds=round(time.monotonic() - begun, 1),
    )
