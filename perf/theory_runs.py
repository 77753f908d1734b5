"""The runs behind the pictures of the theory: which ones, the suites that make them, and what is kept of each."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from pace_core.spec import RESULTS_VERSION, RunSpec, spec_of_recipe, validate
from service.client import Job, JobEvent, SuiteRequest, SuiteRow

RECIPE, ROW = "vtab-mini", "PACE"
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


def label_of(spec: RunSpec) -> str:
    """Returns the settings in a line."""
    chosen, images = spec.regularizer, spec.task.params.get("train_images")
    said = " ".join(f"{key} {value}" for key, value in chosen.params.items() if not isinstance(value, str))
    parts = [f"{chosen.name} {said}".strip(), f"{images} images" if images else ""]
    return ", ".join(filter(None, [*parts, "" if spec.training.diagnostics else "without diagnostics"]))


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
        return f"{self.spec.task.name}  {label_of(self.spec)}"


class Outcomes:
    """Finished runs, found by their specs."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self._by_spec = {o.spec.model_dump_json(): o for o in outcomes if o.results_version == RESULTS_VERSION}

    def __len__(self) -> int:
        return len(self._by_spec)

    def of(self, spec: RunSpec) -> Outcome | None:
        """None where it has not run."""
        return self._by_spec.get(spec.model_dump_json())


def suites_of(specs: Iterable[RunSpec]) -> list[SuiteRequest]:
    """Returns suites that make exactly these runs: a row for each setting, and a suite for all rows of the same phase
    and tasks."""
    settings: dict[tuple[str, str], dict[str, Any]] = {}
    tasks: dict[tuple[str, str], list[str]] = {}
    for spec in specs:
        said = {key: value for key, value in spec.json_dict().items() if key not in ("task", "seed", "init_from")}
        images = spec.task.params.get("train_images")
        row = (spec.task.phase, label_of(spec))
        settings[row] = said | ({"task": {"train_images": images}} if images else {})
        tasks.setdefault(row, []).append(spec.task.name)
    together: dict[tuple[str, tuple[str, ...]], list[SuiteRow]] = {}
    for (phase, label), names in tasks.items():
        row = SuiteRow(label=label, spec=settings[phase, label])
        together.setdefault((phase, tuple(dict.fromkeys(names))), []).append(row)
    return [
        SuiteRequest.model_validate(
            {"name": "theory", "tasks": list(names), "rows": rows, "phase": phase, "stop_after": None}
        )
        for (phase, names), rows in together.items()
    ]


def outcome_of(job: Job, events: Iterable[JobEvent]) -> Outcome:
    """Returns what an ended job came to; a loss that becomes no number is an outcome too."""
    epochs: dict[int, dict[str, float]] = {}
    for event in events:
        if event.type == "metrics":
            epochs.setdefault(event.data["epoch"], {}).update(event.data["values"])
    return Outcome(
        spec=RunSpec.model_validate(job.spec),
        results_version=RESULTS_VERSION,
        code_version=job.result.provenance.code_version if job.result else "",
        epochs=epochs,
        failed=None if job.result else f"{job.reason}: {job.message}",
        seconds=round(job.result.seconds, 1) if job.result else 0.0,
    )
