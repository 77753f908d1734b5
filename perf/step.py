"""Time and memory of a training step, each kind beside the baseline that runs in turn with it on the same machine.

    python -m perf.step [--device cuda] [--models vit_base_patch16_224] [--batch 64] [--precisions bfloat16]

Needs the core alone: no service, no Ray, no database. The bound is the counted arithmetic at the rate at which this
machine multiplies two large matrices.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pace_core import methods, regularizers
from pace_core.backbones import vision
from pace_core.network import noised_product
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext
from pace_core.spec import Backbone, Optimizer, Training
from pace_core.training.optimizer import build_optimizer
from pace_core.training.precision import choose_precision
from pace_core.training.recorded import RecordedSteps
from perf.step_peers import CLASSES, DROP_PATH, RANK, Autocast, PaperStep, PeftStep

BASELINE = "lora_mul_vpt_add none"
PAIRS = [
    ("lora_mul_vpt_add", "none"),
    ("lora_mul_vpt_add", "pace"),
    ("lora_mul_vpt_add", "pace_fast"),
    ("lora_mul_vpt_add", "pace_lazy_half"),
    ("lora_add", "none"),
    ("lora_add", "pace"),
    ("lora_add", "pace_fast"),
]
WARM_UP = {"cpu": 1, "cuda": 8}  # on a GPU until every kind of step is recorded
Stepper = Callable[[], None]


@dataclass
class Row:
    """One kind of step on one network, as measured."""

    model: str
    precision: str
    batch: int
    step: str
    tflop: float
    """Counted arithmetic, without the optimizer's."""
    memory_mib: float | None
    """Most that a step takes on a GPU beside network, optimizer and batch, with what a recording keeps."""
    ms: float = 0.0
    ratio: float = 0.0
    """Of the baseline's time."""
    bound: float = 0.0
    """Share of the time that the arithmetic alone would take."""


class OurStep:
    """One method's and regularizer's training step, again and again on the same batch."""

    def __init__(
        self,
        model: str,
        images: Tensor,
        labels: Tensor,
        autocast: Autocast,
        method: str,
        regularizer: str,
        *,
        recorded: bool = True,
        kernels: bool = True,
    ) -> None:
        network = vision.load(Backbone(name=model, weights="none"), CLASSES, drop_path=DROP_PATH).model
        adapting = methods.find(method)
        adapting.adapt(network, adapting.params(rank=RANK), torch.Generator().manual_seed(0))
        network = network.to(images.device).train()
        context = StepContext(network, Pass(SeededSource(0)), None, autocast, len(labels), CLASSES)
        declared = regularizers.find(regularizer)
        made = declared.make(declared.params(), context)
        self.regularizer = RecordedSteps(made, context) if recorded and images.device.type == "cuda" else made
        self.kernels = kernels
        self.optimizer = build_optimizer(network, Optimizer())
        self.batch, self.count = Batch(images, labels, torch.arange(len(labels), device=images.device)), 0

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with nullcontext() if self.kernels else without_kernels():
            self.regularizer.step(self.batch, self.count)
        self.optimizer.step()
        self.regularizer.after_update()
        self.count += 1


@contextmanager
def without_kernels() -> Iterator[None]:
    """Makes noised layers two products within the context, as where there is no Triton."""
    with patch.object(noised_product, "kernels", lambda: None):
        yield


def steppers(model: str, images: Tensor, labels: Tensor, autocast: Autocast) -> dict[str, Callable[[], Stepper]]:
    """Returns what is measured, by name."""
    given = (model, images, labels, autocast)
    made: dict[str, Callable[[], Stepper]] = {f"{m} {r}": partial(OurStep, *given, m, r) for m, r in PAIRS}
    if images.device.type == "cuda":
        for pair in PAIRS[:2]:
            name = " ".join(pair)
            made[f"{name}, without kernels"] = partial(OurStep, *given, *pair, kernels=False)
            made[f"{name}, not recorded"] = partial(OurStep, *given, *pair, recorded=False)
    made["paper's formulas, no noise"] = partial(PaperStep, *given, noised=False)
    made["paper's formulas, pace"] = partial(PaperStep, *given, noised=True)
    made["peft lora"] = partial(PeftStep, *given)
    return made


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Returns the time of one call, to its end on the device."""
    begun = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def machine(device: torch.device) -> dict[str, float]:
    """Returns the TFLOP/s of a large matrix product in both precisions, and the TB/s of a copy, read and written."""
    side = 8192 if device.type == "cuda" else 1024
    found: dict[str, float] = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        taken = statistics.median([seconds(partial(torch.matmul, a, b), device) for _ in range(8)][3:])
        found[f"{name}_tflops"] = 2 * side**3 / taken / 1e12
    source = torch.randn(64 * side, side // 4, device=device)
    target = torch.empty_like(source)
    taken = statistics.median([seconds(partial(target.copy_, source), device) for _ in range(8)][3:])
    return found | {"copy_tb_per_s": 2 * source.nbytes / taken / 1e12}


def measured(model: str, precision: Any, batch: int, steps: int, device: torch.device, tflops: float) -> list[Row]:
    """Times every kind of step in turn, so that a busy machine slows all of them alike."""
    autocast = choose_precision(Training(precision=precision), device).autocast
    images, labels = torch.randn(batch, 3, 224, 224, device=device), torch.arange(batch, device=device) % CLASSES
    made: dict[str, Stepper] = {}
    rows: dict[str, Row] = {}
    for name, make in steppers(model, images, labels, autocast).items():
        torch.manual_seed(0)
        run = made[name] = make()
        with FlopCounterMode(display=False) as counter, without_kernels():  # whose products would not be counted
            run()
        memory = memory_of_steps(run, WARM_UP[device.type], device)
        rows[name] = Row(model, precision, batch, name, counter.get_total_flops() / 1e12, memory)
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(steps):
        for name, run in made.items():
            times[name].append(seconds(run, device))
    baseline = statistics.median(times[BASELINE])
    for name, row in rows.items():
        median = statistics.median(times[name])
        row.ms, row.ratio, row.bound = 1000 * median, median / baseline, row.tflop / tflops / median
    return list(rows.values())


def memory_of_steps(run: Stepper, count: int, device: torch.device) -> float | None:
    """Runs steps to warm up; returns the most that they took on a GPU beside what was there before, in MiB."""
    if device.type == "cpu":
        for _ in range(count):
            run()
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(count):
        run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def table(title: str, rows: list[Row]) -> Table:
    """Shows what was measured."""
    shown = Table("step", "ms", "x baseline", "images/s", "MiB", "TFLOP", "bound / time", title=title)
    for row in rows:
        memory = "" if row.memory_mib is None else f"{row.memory_mib:.0f}"
        speed = 1000 * row.batch / row.ms
        shown.add_row(
            row.step,
            f"{row.ms:.1f}",
            f"{row.ratio:.2f}",
            f"{speed:.0f}",
            memory,
            f"{row.tflop:.2f}",
            f"{row.bound:.0%}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--models", type=lambda text: text.split(","), default=["vit_small_patch16_224"])
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["float32"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device, console = torch.device(asked.device), Console(width=120)
    torch.set_num_threads(asked.threads)
    rates = machine(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {asked.threads} threads"
    console.print(name, {key: round(value, 3) for key, value in rates.items()})
    rows: list[Row] = []
    for model in asked.models:
        for precision in asked.precisions:
            found = measured(model, precision, asked.batch, asked.steps, device, rates[f"{precision}_tflops"])
            rows += found
            console.print(table(f"{model}, {precision}, batch {asked.batch}", found))
            if asked.json:
                report = {"machine": name, "torch": torch.__version__, **rates, "rows": [asdict(row) for row in rows]}
                asked.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
