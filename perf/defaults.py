"""Searches the defaults of training for `lora_add` on small data and writes `docs/defaults.md`.

    python -m perf.defaults [--write docs/defaults.md]

Each setting is judged by its mean accuracy over the cases and seeds, on validation images; no test image is read. First
every learning rate with every batch size, then the best of them with other weight decays, then with other drop paths.
The best of all is compared with the defaults again on seeds by which it was not chosen.
What is measured is kept in `docs/defaults.jsonl`, so an interrupted search goes on where it stopped.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pace_core.run import run
from pace_core.spec import Directive, load_benchmarks, merged, validate
from perf.shapes import SHAPES, draw_shapes

RATES, BATCHES, DECAYS, DROP_PATHS = (1e-3, 2e-3, 5e-3, 1e-2), (8, 16, 32), (1e-4, 1e-2, 1e-1), (0.0, 0.1, 0.2)
SEEDS = (0, 1)
FRESH_SEEDS = (2, 3)
"""Seeds that chose nothing: on them the best setting is measured against the defaults again."""
CLEAR = 3.0  # standard errors: with 15 settings beside the defaults, one of them passes two by luck
KEPT = Path("docs/defaults.jsonl")
COMMON: dict[str, Any] = {
    "task": {"phase": "search"},
    "method": {"name": "lora_add"},
    "resources": {"threads": 1, "device": "cpu"},
}


@dataclass(frozen=True)
class Case:
    """Small data to train on; `task` is one of vtab-mini, or `shapes`, drawn as a folder."""

    task: str
    images: int
    epochs: int

    @property
    def title(self) -> str:
        return f"{self.task}, {self.images} images, {self.epochs} epochs"

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        sizes = {task.name: task.num_classes for task in load_benchmarks()["vtab-mini"].tasks}
        return 1 / (sizes.get(self.task) or len(SHAPES))

    def spec(self, shapes: Path) -> dict[str, Any]:
        """Returns the part of a spec that the case decides."""
        if self.task == "shapes":
            task: dict[str, Any] = {"name": "shapes", "source": "image_folder", "path": str(shapes)}
        else:
            task = {"name": f"vtab-mini/{self.task}", "train_images": self.images}
        return merged(COMMON, {"task": task, "training": {"epochs": self.epochs}})


CASES = (
    Case("shapes", images=60, epochs=3),
    Case("cells", images=100, epochs=3),
    Case("digits", images=100, epochs=5),
    Case("distance", images=100, epochs=5),
    Case("textures", images=60, epochs=10),
)


class Setting(NamedTuple):
    """What is searched."""

    lr: float
    batch_size: int
    weight_decay: float
    drop_path: float

    @property
    def spec(self) -> dict[str, Any]:
        """The part of a spec that the setting decides."""
        return {
            "optimizer": {"lr": self.lr, "weight_decay": self.weight_decay},
            "training": {"batch_size": self.batch_size, "drop_path": self.drop_path},
        }


def defaults() -> Setting:
    """Returns the defaults as they are now."""
    spec = validate(merged(COMMON, {"task": {"name": "vtab-mini/digits"}}))
    drop_path = spec.training.drop_path
    assert drop_path is not None
    return Setting(spec.optimizer.lr, spec.training.batch_size, spec.optimizer.weight_decay, drop_path)


class Silent:
    """A reporter that nobody listens to."""

    def event(self, type: str, data: dict[str, Any]) -> None: ...

    def directive(self) -> Directive:
        return "continue"


class Search:
    """Accuracies by setting, case and seed, measured or kept from before."""

    def __init__(self, shapes: Path) -> None:
        self._shapes = shapes
        self.seconds = 0.0
        self._found: dict[tuple[Setting, str, int], float] = {}
        for line in KEPT.read_text("utf-8").splitlines() if KEPT.exists() else []:
            said = json.loads(line)
            self._found[Setting(*said["setting"]), said["case"], said["seed"]] = said["accuracy"]
            self.seconds += said["seconds"]

    def accuracies(self, setting: Setting, *cases: Case, seeds: tuple[int, ...] = SEEDS) -> list[float]:
        """Returns the accuracies of the cases (all, where none is named), every seed of the first case first."""
        return [self._accuracy(setting, case, seed) for case, seed in product(cases or CASES, seeds)]

    def mean(self, setting: Setting) -> float:
        """Returns the mean accuracy over cases and seeds."""
        return float(np.mean(self.accuracies(setting)))

    def _accuracy(self, setting: Setting, case: Case, seed: int) -> float:
        key = (setting, case.title, seed)
        if key not in self._found:
            spec = validate(merged(merged(case.spec(self._shapes), setting.spec), {"seed": seed}))
            begun = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                accuracy = run(spec, Silent(), folder).value("val")
            assert accuracy is not None
            seconds = time.process_time() - begun
            said = {"setting": setting, "case": case.title, "seed": seed, "accuracy": accuracy}
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**said, "seconds": round(seconds, 1)}) + "\n")
            self._found[key] = accuracy
            self.seconds += seconds
            print(f"{setting}, {case.title}, seed {seed}: {100 * accuracy:.1f}", flush=True)
        return self._found[key]


def settings(search: Search) -> list[Setting]:
    """Returns every setting that is tried; the best so far decides what comes next, the defaults are among them."""
    return list(dict.fromkeys(_in_order(search)))


def _in_order(search: Search) -> Iterator[Setting]:
    now = defaults()
    grid = [now._replace(lr=lr, batch_size=batch_size) for lr in RATES for batch_size in BATCHES]
    yield from grid
    decays = [max(grid, key=search.mean)._replace(weight_decay=decay) for decay in DECAYS]
    yield from decays
    best = max(decays, key=search.mean)
    yield from (best._replace(drop_path=drop_path) for drop_path in DROP_PATHS)
    yield now


def gain(search: Search, setting: Setting, seeds: tuple[int, ...] = SEEDS) -> tuple[float, float]:
    """Returns by how much a setting is better than the defaults, and the standard error, over cases and seeds."""
    pairs = zip(search.accuracies(setting, seeds=seeds), search.accuracies(defaults(), seeds=seeds), strict=True)
    differences = [ours - theirs for ours, theirs in pairs]
    return float(np.mean(differences)), float(np.std(differences, ddof=1)) / math.sqrt(len(differences))


def page(search: Search) -> str:
    """Returns the table, best first, what follows from it, and what it cost."""
    tried, now = sorted(settings(search), key=search.mean, reverse=True), defaults()
    cases, rule = " | ".join(case.title for case in CASES), "---:|" * (6 + len(CASES))
    lines = [
        "# Where the defaults of training come from",
        "",
        "`make defaults` (`perf/defaults.py`) trains `lora_add` on the network that ships, on a few images of several",
        "kinds, with several learning rates, batch sizes, weight decays and drop paths. The numbers are accuracies on",
        f"validation images in percent, means over {len(SEEDS)} seeds. The line in bold has the defaults. The last",
        f"column is the mean difference to them, with its standard error over {len(CASES) * len(SEEDS)} pairs of equal",
        "data and seed.",
        "",
        f"| lr | batch | weight decay | drop path | {cases} | mean | difference |",
        f"|{rule}",
    ]
    lines += [_row(search, setting, now) for setting in tried]
    lines.append(f"| chance | | | | {' | '.join(f'{100 * case.chance:.1f}' for case in CASES)} | | |")
    return "\n".join([*lines, "", *_conclusion(search, tried, now), ""])


def _row(search: Search, setting: Setting, now: Setting) -> str:
    values = [f"{value:g}" for value in setting]
    cells = [f"{100 * np.mean(search.accuracies(setting, case)):.1f}" for case in CASES]
    if setting == now:
        values, difference = [f"**{value}**" for value in values], ""
    else:
        mean, error = gain(search, setting)
        difference = f"{100 * mean:+.1f} ± {100 * error:.1f}"
    return f"| {' | '.join([*values, *cells])} | {100 * search.mean(setting):.1f} | {difference} |"


def _conclusion(search: Search, tried: list[Setting], now: Setting) -> list[str]:
    others = [gain(search, setting) for setting in tried if setting != now]
    better = sum(mean > CLEAR * error for mean, error in others)
    worse = sum(mean < -CLEAR * error for mean, error in others)
    best = next(setting for setting in tried if setting != now)
    mean, error = gain(search, best, FRESH_SEEDS)
    named = "lr {:g}, batch {}, weight decay {:g}, drop path {:g}".format(*best)
    clear = "clear: the defaults should be changed" if mean > CLEAR * error else "not clear: the defaults stay"
    return [
        f"A difference counts as clear where it is more than {CLEAR:g} standard errors: {better} of the {len(others)}",
        f"other settings is then better than the defaults, and {worse} are worse. The best of many looks better than",
        f"it is, so it was measured again with {len(FRESH_SEEDS)} seeds that did not choose it: {named} differs",
        f"from the defaults by {100 * mean:+.1f} ± {100 * error:.1f} points there, which is {clear}.",
        "",
        f"The search took {search.seconds / 60:.0f} minutes of one CPU core.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, default=Path("docs/defaults.md"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw_shapes(Path(folder) / "shapes", {"train": 20, "val": 60})
        search = Search(Path(folder) / "shapes")
        for setting in settings(search):
            print(f"{setting}: {100 * search.mean(setting):.1f}", flush=True)
        asked.write.write_text(page(search), "utf-8")


if __name__ == "__main__":
    main()
