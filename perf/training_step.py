"""Time of a training step under each regularizer, as a ratio to none, for the small ViT that ships.

python -m perf.training_step [--method lora_mul_vpt_add] [--batch 32]
"""

import argparse
import statistics
import time
from contextlib import nullcontext

import torch
from rich.console import Console
from rich.table import Table

from pace_core import methods, regularizers
from pace_core.backbones import vision
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext
from pace_core.spec import Backbone, Optimizer
from pace_core.training.optimizer import build_optimizer

CLASSES = 10


class Stepper:
    """One regularizer's training step, again and again on the same batch."""

    def __init__(self, method: str, name: str, batch: Batch) -> None:
        model = vision.load(Backbone(weights="none"), CLASSES, drop_path=0.0).model
        adapting = methods.find(method)
        adapting.adapt(model, adapting.params(), torch.Generator().manual_seed(0))
        context = StepContext(model.train(), Pass(SeededSource(0)), None, nullcontext, len(batch), CLASSES)
        declared = regularizers.find(name)
        self.batch, self.count = batch, 0
        self.regularizer = declared.make(declared.params(), context)
        self.optimizer = build_optimizer(model, Optimizer())

    def seconds(self) -> float:
        """Of one step, update included."""
        begun = time.perf_counter()
        self.optimizer.zero_grad()
        self.regularizer.step(self.batch, self.count)
        self.optimizer.step()
        self.regularizer.after_update()
        self.count += 1
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--method", default="lora_mul_vpt_add")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=16)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = torch.randn(asked.batch, 3, 64, 64), torch.arange(asked.batch) % CLASSES
    batch = Batch(images, labels, torch.arange(asked.batch))
    names = [name for name, declared in regularizers.entries().items() if {"delta", "merged"} >= declared.needs]
    steppers = {name: Stepper(asked.method, name, batch) for name in sorted(names, key=lambda name: name != "none")}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for step in range(asked.steps + 2):
        for name, stepper in steppers.items():  # in turn, so that a busy machine slows all of them alike
            taken = stepper.seconds()
            if step >= 2:
                times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    table = Table("regularizer", "ms a step", "x none", title=f"{asked.method}, batch {asked.batch}, one thread")
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median:.0f}", f"{median / medians['none']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
