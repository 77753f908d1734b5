"""Pretrains the network that ships, `pace_vit_mini`, on two cores and without a network: `make backbone`.

A second process makes images and asks the teacher about them; this one trains the student on the latest of them, each
about three times, with other patches dropped, mirrored or not. The schedule follows the clock, so the run ends on time
on any machine.
Needs the extra `backbone`; Debian's `lomiri-wallpapers-16.04` (ten photographs more) is optional.

    python -m pace_core.backbones.pretrain --out pace_vit_mini.safetensors --minutes 55
"""

import argparse
import logging
import math
import resource
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from pace_core.backbones._muon import Muon
from pace_core.backbones._student import GRID, Heads, build_student, encode, save_student
from pace_core.backbones._teacher import TARGETS, Teacher
from pace_core.backbones._views import SIZE, views
from pace_core.backbones.mini import WEIGHTS

SEED = 0
BATCH, TEACHER_BATCH = 64, 16
POOL = 4096
"""Images the trainer draws from; the teacher renews it about every minute."""
REUSE = 3
"""Times an image is trained on, on average, so that the costlier teacher leaves the student most of the time."""
CALIBRATION = 512
STOCK = 512
LEARNING_RATE, WARM_UP, WEIGHT_DECAY, CLIP = 1.5e-3, 0.04, 0.05, 1.0
DROPPED_UNTIL, KEPT = 0.85, GRID * GRID // 2
"""Half of the patches are dropped until this share of the run."""
SECONDS_BETWEEN_SAVES, SECONDS_BETWEEN_LINES = 120, 15


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """The latest images and what the teacher said of them, in memory that both processes see."""

    rows: dict[str, Tensor]
    """Half-precision targets by name, and uint8 `images` [n, 3, 64, 64]; written round and round."""
    taught: "Synchronized[int]"
    """Rows written so far."""
    trained: "Synchronized[int]"
    """Images the student has seen so far."""
    stop: Event

    @property
    def size(self) -> int:
        return len(self.rows["images"])


def pretrain(out: Path, minutes: float, pool_size: int = POOL, stock_size: int = STOCK) -> list[float]:
    """Trains for `minutes`, start-up aside; saves to `out` every two minutes and at the end.

    Returns the mean losses of each quarter of a minute. Raises RuntimeError if the teacher's process dies.
    """
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    context = mp.get_context("spawn")
    pool = Pool(_empty_rows(pool_size), context.Value("q", 0), context.Value("q", 0), context.Event())
    teacher = context.Process(target=_teach, args=(pool, stock_size), daemon=True)
    teacher.start()
    try:
        while pool.taught.value < pool_size // 4:
            _check_alive(teacher)
            time.sleep(0.5)
        return _train(pool, teacher, out, minutes * 60)
    finally:
        pool.stop.set()
        teacher.join()


def _train(pool: Pool, teacher: BaseProcess, out: Path, budget_s: float) -> list[float]:
    student, heads = build_student(), Heads()
    matrices = {name: weight for name, weight in student.blocks.named_parameters() if weight.ndim == 2}
    muon = Muon((weight, 3 if "qkv" in name else 1) for name, weight in matrices.items())
    others = [weight for name, weight in student.named_parameters() if name.removeprefix("blocks.") not in matrices]
    adamw = torch.optim.AdamW([*others, *heads.parameters()], betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    everything = [*student.parameters(), *heads.parameters()]

    start = logged = saved = time.monotonic()
    recent: list[float] = []
    history: list[float] = []
    done = False
    while not done:
        progress = min((time.monotonic() - start) / budget_s, 1)
        done = progress == 1
        images, targets = _draw(pool)
        kept = torch.rand(BATCH, GRID * GRID).argsort(1)[:, : KEPT if progress < DROPPED_UNTIL else GRID * GRID]
        loss = heads(encode(student, images, kept), kept, targets)
        for weight in everything:
            weight.grad = None
        loss.backward()
        clip_grad_norm_(everything, CLIP)
        lr = LEARNING_RATE * min(progress / WARM_UP, (1 + math.cos(math.pi * progress)) / 2)
        muon.step(lr)
        adamw.param_groups[0]["lr"] = lr
        adamw.step()
        pool.trained.value += BATCH

        recent.append(loss.item())
        now = time.monotonic()
        if done or now - logged > SECONDS_BETWEEN_LINES:
            _check_alive(teacher)
            history.append(float(np.mean(recent)))
            counts = f"{pool.trained.value} images seen, {pool.taught.value} distinct"
            logger.info("%.1f %%  loss %.4f  %s", progress * 100, history[-1], counts)
            logged, recent = now, []
        if done or now - saved > SECONDS_BETWEEN_SAVES:
            save_student(student, out, _provenance(pool, progress))
            saved = now
    return history


def _provenance(pool: Pool, progress: float) -> dict[str, str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "made_by": "python -m pace_core.backbones.pretrain: distilled from EfficientNet-Lite0 (ImageNet)",
        "images_seen": str(pool.trained.value),
        "images_distinct": str(pool.taught.value),
        "share_of_run": f"{progress:.3f}",
        "trainer_cpu_s": f"{used.ru_utime + used.ru_stime:.0f}",
    }


def _check_alive(teacher: BaseProcess) -> None:
    if not teacher.is_alive():
        raise RuntimeError("the teacher's process died; its error stands above")


def _empty_rows(size: int) -> dict[str, Tensor]:
    rows = {name: torch.zeros(size, *shape, dtype=torch.float16) for name, shape in TARGETS.items()}
    rows["images"] = torch.zeros(size, 3, SIZE // 2, SIZE // 2, dtype=torch.uint8)
    return {name: tensor.share_memory_() for name, tensor in rows.items()}


def _draw(pool: Pool) -> tuple[Tensor, dict[str, Tensor]]:
    """A batch of images and targets, all mirrored or none; keeps clear of the rows that are being overwritten."""
    taught = pool.taught.value
    usable = min(taught, pool.size - 2 * TEACHER_BATCH)
    rows = (taught - 1 - torch.randint(usable, (BATCH,))) % pool.size
    batch = {name: tensor[rows].float() for name, tensor in pool.rows.items()}
    if torch.rand(()) < 0.5:
        batch = {name: tensor.flip(3) if tensor.ndim == 4 else tensor for name, tensor in batch.items()}
    return batch.pop("images"), batch


def _teach(pool: Pool, stock_size: int) -> None:
    """Fills the pool round and round until told to stop, or left alone."""
    torch.set_num_threads(1)
    batches = views(TEACHER_BATCH, stock_size, np.random.default_rng(SEED))
    calibration = np.concatenate([next(batches) for _ in range(min(CALIBRATION, pool.size) // TEACHER_BATCH)])
    teacher = Teacher(calibration, TEACHER_BATCH)
    parent = mp.parent_process()
    assert parent is not None
    while not pool.stop.is_set() and parent.is_alive():
        if pool.taught.value > pool.size // 4 + pool.trained.value // REUSE:
            time.sleep(0.05)
            continue
        images = next(batches)
        rows = slice(pool.taught.value % pool.size, pool.taught.value % pool.size + TEACHER_BATCH)
        for name, target in teacher(images).items():
            pool.rows[name][rows] = torch.from_numpy(target)
        small = images.reshape(TEACHER_BATCH, SIZE // 2, 2, SIZE // 2, 2, 3).mean((2, 4)).round()
        pool.rows["images"][rows] = torch.from_numpy(small.transpose(0, 3, 1, 2).astype(np.uint8))
        pool.taught.value += TEACHER_BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrains pace_vit_mini.")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the safetensors file to write")
    parser.add_argument("--minutes", type=float, default=55, help="training time")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pretrain(arguments.out, arguments.minutes)


if __name__ == "__main__":
    main()
