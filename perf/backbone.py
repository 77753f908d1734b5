"""What the pretraining of the network that ships is worth, on every bundled task.

Raw pixels and the class token under a linear probe, and lora_add, from the shipped weights and from random ones. The
probe's penalty is chosen on the 200 validation images; then everything trains on all 1,000 and is tested once.

    python -m perf.backbone [--out docs/backbone.md]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from pace_core.backbones import vision
from pace_core.data import ImageSet, Splits, vtab_mini
from pace_core.preprocessing import Preprocessing
from pace_core.run import run
from pace_core.spec import Backbone, Directive, load_benchmarks, spec_of_recipe, validate

TASKS = [task.name for task in load_benchmarks()["vtab-mini"].tasks]
COLUMNS = ["raw pixels", "probe, random", "probe, pretrained", "LoRA, random", "LoRA, pretrained"]
PENALTIES = [1e-3, 1e-2, 1e-1, 1.0]
Features = NDArray[np.floating[Any]]


class Quiet:
    """Listens to nothing."""

    def event(self, type: str, data: dict[str, Any]) -> None:
        return

    def directive(self) -> Directive:
        return "continue"


def splits(task: str, phase: Literal["search", "final"]) -> Splits:
    """The task's pictures."""
    as_drawn = Preprocessing(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    params = vtab_mini.Params(task=task)
    return vtab_mini.load(params, phase=phase, num_classes=None, preprocessing=as_drawn, reporter=Quiet())


def pixels(images: ImageSet) -> Features:
    """16 x 16 pixels of three colours."""
    small = nn.functional.avg_pool2d(images.images.permute(0, 3, 1, 2).float() / 255, 4)
    return small.flatten(1).numpy()


class ClassToken:
    """The network's features as the head would read them."""

    def __init__(self, weights: str) -> None:
        loaded = vision.load(Backbone(weights=weights), num_classes=0, drop_path=0.0)
        self.model = loaded.model.eval()
        self.mean, self.std = (torch.tensor(values).view(1, 3, 1, 1) for values in (loaded.mean, loaded.std))

    @torch.inference_mode()
    def __call__(self, images: ImageSet) -> Features:
        batches = (images.images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return torch.cat([self.model(batch) for batch in batches.split(100)]).numpy()


def probe(features: Any, task: str) -> float:
    """Test accuracy of logistic regression on standardised features, in percent."""

    def score(train: ImageSet, held_out: ImageSet, penalty: float) -> float:
        a, b = features(train), features(held_out)
        mean, std = a.mean(0), a.std(0) + 1e-6
        fitted = LogisticRegression(C=penalty, max_iter=300).fit((a - mean) / std, train.labels)
        return 100 * float(fitted.score((b - mean) / std, held_out.labels))

    search, final = splits(task, "search"), splits(task, "final")
    assert search.val is not None
    assert final.test is not None
    val = search.val
    best = max(PENALTIES, key=lambda penalty: score(search.train, val, penalty))
    return score(final.train, final.test, best)


def lora(task: str, weights: str) -> float:
    """Test accuracy of the recipe's LoRA_add row, in percent."""
    spec = validate(spec_of_recipe("vtab-mini", "LoRA_add", task, {"backbone": {"weights": weights}}))
    with tempfile.TemporaryDirectory() as folder:
        found = run(spec, Quiet(), folder).value("test")
    assert found is not None
    return 100 * found


def markdown(rows: dict[str, list[float]], seconds: float) -> str:
    """The table and what it says."""
    means = [statistics.mean(row[i] for row in rows.values()) for i in range(len(COLUMNS))]
    lines = [
        "# What the pretraining is worth",
        "",
        "Test accuracy in percent on the bundled tasks, of the network that ships against the same network from random",
        f"initialization. Made by `make backbone-table` ({seconds:.0f} s).",
        "",
        f"| task | chance | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for task, row in rows.items():
        chance = 100 / len(vtab_mini.TASKS[task].class_names)
        lines.append(f"| {task} | {chance:.1f} | {' | '.join(f'{value:.1f}' for value in row)} |")
    lines.append(f"| mean | | {' | '.join(f'{value:.1f}' for value in means)} |")
    probe_gain, lora_gain = means[2] - means[1], means[4] - means[3]
    pixel_wins = [task for task, row in rows.items() if row[0] > row[2]]
    lines += [
        "",
        f"The linear probe gains {probe_gain:+.1f} points over random initialization, LoRA {lora_gain:+.1f}.",
        f"Raw pixels beat the pretrained probe on: {', '.join(pixel_wins) or 'no task'}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("docs/backbone.md"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    random, pretrained = ClassToken("none"), ClassToken("bundled")
    rows: dict[str, list[float]] = {}
    for task in TASKS:
        rows[task] = [probe(pixels, task), probe(random, task), probe(pretrained, task)]
        rows[task] += [lora(task, "none"), lora(task, "bundled")]
        print(task, *(f"{value:.1f}" for value in rows[task]), flush=True)
    asked.out.write_text(markdown(rows, time.monotonic() - begun), "utf-8")
    print(asked.out.read_text("utf-8"))


if __name__ == "__main__":
    main()
