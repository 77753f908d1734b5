"""Searches the defaults of training for `lora_add` on small data and writes `docs/defaults.md`.

    python -m perf.defaults [--write docs/defaults.md]

Each setting is judged by its mean accuracy over the cases, on validation images; no test image is read. First every
learning rate with every batch size, then the best of them with other weight decays, then with other drop paths. What is
measured is kept in `docs/defaults.jsonl`, so an interrupted search goes on where it stopped.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pace_core.run import run
from pace_core.spec import Directive, load_benchmarks, merged, validate
from perf.shapes import draw_shapes

RATES, BATCHES, DECAYS, DROP_PATHS = (1e-3, 2e-3, 5e-3, 1e-2), (16, 64), (1e-4, 1e-2), (0.0, 0.1)
FOLDER = "60 drawn shapes, 3 classes"
CASES: dict[str, dict[str, Any]] = {
    FOLDER: {"training": {"epochs": 3}},
    "digits, 100 images": {"task": {"name": "vtab-mini/digits", "train_images": 100}, "training": {"epochs": 5}},
}
COMMON: dict[str, Any] = {
    "task": {"phase": "search"},
    "method": {"name": "lora_add"},
    "resources": {"threads": 1, "device": "cpu"},
}
KEPT = Path("docs/defaults.jsonl")

Setting = tuple[float, int, float, float]
"""lr, batch size, weight decay, drop path."""


class Silent:
    """A reporter that nobody listens to."""

    def event(self, type: str, data: dict[str, Any]) -> None: ...

    def directive(self) -> Directive:
        return "continue"


class Search:
    """Accuracies by setting and case, measured or kept from before."""

    def __init__(self, shapes: Path) -> None:
        self._shapes = {"name": "shapes", "source": "image_folder", "path": str(shapes)}
        self.seconds = 0.0
        self.found: dict[tuple[Setting, str], float] = {}
        for line in KEPT.read_text("utf-8").splitlines() if KEPT.exists() else []:
            said = json.loads(line)
            self.found[tuple(said["setting"]), said["case"]] = said["accuracy"]
            self.seconds += said["seconds"]

    def mean(self, setting: Setting) -> float:
        """Mean accuracy over the cases."""
        return float(np.mean([self._accuracy(setting, case) for case in CASES]))

    def _accuracy(self, setting: Setting, case: str) -> float:
        if (setting, case) not in self.found:
            lr, batch_size, decay, drop_path = setting
            own = {"task": self._shapes} if case == FOLDER else {}
            tried = {
                "optimizer": {"lr": lr, "weight_decay": decay},
                "training": {"batch_size": batch_size, "drop_path": drop_path},
            }
            spec = validate(merged(merged(merged(COMMON, CASES[case]), own), tried))
            begun = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                accuracy = run(spec, Silent(), folder).value("val")
            assert accuracy is not None
            seconds = time.monotonic() - begun
            said = {"setting": setting, "case": case, "accuracy": accuracy, "seconds": round(seconds, 1)}
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(said) + "\n")
            self.found[setting, case] = accuracy
            self.seconds += seconds
            print(
                f"lr {lr:g}  batch {batch_size}  decay {decay:g}  drop path {drop_path:g}  {case}: {accuracy:.3f}",
                flush=True,
            )
        return self.found[setting, case]


def settings(search: Search) -> Iterator[Setting]:
    """Every setting in the order in which it is tried; the best so far decides what comes next."""
    grid = [(lr, batch_size, 1e-4, 0.0) for lr in RATES for batch_size in BATCHES]
    yield from grid
    lr, batch_size, _, _ = max(grid, key=search.mean)
    decays = [(lr, batch_size, decay, 0.0) for decay in DECAYS]
    yield from decays
    _, _, decay, _ = max(decays, key=search.mean)
    yield from ((lr, batch_size, decay, drop_path) for drop_path in DROP_PATHS)


def page(search: Search) -> str:
    """The table, best first, with its cost."""
    tried = sorted(dict.fromkeys(settings(search)), key=lambda setting: -search.mean(setting))
    sizes = {task.name: task.num_classes for task in load_benchmarks()["vtab-mini"].tasks}
    chance = {case: 1 / sizes.get(case.partition(",")[0], 3) for case in CASES}
    best = tried[0]
    lines = [
        "# Where the defaults of training come from",
        "",
        "`make defaults` (`perf/defaults.py`) trains `lora_add` on the network that ships, on small data, with several",
        "learning rates, batch sizes, weight decays and drop paths, and judges each by its mean accuracy on validation",
        "images (percent, one seed; chance in the last line). Epochs: 3 for the folder, 5 for 100 images.",
        "",
        f"| lr | batch | weight decay | drop path | {' | '.join(CASES)} | mean |",
        f"|{'---:|' * (5 + len(CASES))}",
    ]
    for setting in tried:
        cells = [f"{100 * search.found[setting, case]:.1f}" for case in CASES]
        lines.append(
            f"| {' | '.join(f'{v:g}' for v in setting)} | {' | '.join(cells)} | {100 * search.mean(setting):.1f} |"
        )
    lines.append(f"| chance | | | | {' | '.join(f'{100 * c:.1f}' for c in chance.values())} | |")
    chosen = "lr {:g}, batch size {}, weight decay {:g}, drop path {:g}".format(*best)
    lines += [
        "",
        f"Best: {chosen}. The search took {search.seconds / 60:.0f} minutes on one CPU thread of a machine",
        "that was busy with other work too. Differences of a few points between neighbours are noise: one seed, and 30",
        "and 200 validation images. Drop path's two values are that near, so its default stays PACE's 0.1.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, default=Path("docs/defaults.md"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw_shapes(Path(folder) / "shapes", {"train": 20, "val": 10})
        search = Search(Path(folder) / "shapes")
        for setting in settings(search):
            print(f"{setting}: {100 * search.mean(setting):.1f}", flush=True)
        asked.write.write_text(page(search), "utf-8")


if __name__ == "__main__":
    main()
