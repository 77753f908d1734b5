"""The life of one run, top to bottom, in the order in which it happens."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pace_core import data, registry, regularizers
from pace_core.adapters import AdapterFile, adapt, save_adapter, start_from
from pace_core.backbones import vision
from pace_core.data import ImageSet, Splits
from pace_core.diagnostics import Diagnostics
from pace_core.methods._inject import head_name
from pace_core.noise import Pass, SeededSource, keyed_seed
from pace_core.provenance import peak_memory_bytes, provenance, reset_peak_memory
from pace_core.regularizers._step import Regularizer, Setting
from pace_core.spec import Adapter, Metric, Reporter, RunError, RunResult, RunSpec
from pace_core.training.batches import Batches, Preprocessing, decoded_size
from pace_core.training.checkpoint import Progress, State, resume
from pace_core.training.evaluate import accuracy, batches_of, logits_of
from pace_core.training.loop import train
from pace_core.training.optimizer import build_optimizer, trainable
from pace_core.training.precision import Precision, choose_device, choose_precision


def run(spec: RunSpec, reporter: Reporter, folder: str, resume_from: str | None = None) -> RunResult:
    """Runs a resolved spec. `folder`: fsspec URL of this attempt's own folder; `resume_from`: an earlier attempt's.

    Raises RunError with the reason of the failure, or Interrupted when the reporter says so. A checkpoint that was
    written stays in the folder in both cases.
    """
    begun = time.monotonic()
    torch.set_num_threads(spec.resources.threads)  # in this thread: the result's last bits depend on it
    device = choose_device(spec.resources.device)
    precision = choose_precision(spec.training, device)
    reset_peak_memory(device)

    with _named_failures():
        reporter.event("stage", {"name": "backbone"})
        loaded = vision.load(spec.backbone, num_classes=0, drop_path=spec.training.drop_path)
        preprocessing = Preprocessing(loaded.image_size, loaded.mean, loaded.std)

        reporter.event("stage", {"name": "data"})
        splits, data_hash = _load_data(spec, loaded.image_size, reporter)
        split, held_out = splits.measured

        model = _adapted(spec, loaded.model, splits.num_classes)
        model.to(device, precision.dtype).train()
        regularizer = _regularizer(spec, model, precision, len(splits.train), splits.num_classes)
        state = State(model, build_optimizer(model, spec.optimizer), regularizer, Progress())

        reporter.event("stage", {"name": "train"})
        evaluation = _Evaluation(spec, model, held_out, preprocessing, precision, device)
        if resume_from and not resume(state, spec, resume_from, folder):
            message = "the earlier attempt left no checkpoint; this one begins at step 0"
            reporter.event("log", {"level": "info", "message": message})
        batches = Batches(
            splits.train,
            preprocessing,
            batch_size=spec.training.batch_size,
            seed=spec.seed,
            augmentation=spec.training.augmentation,
            device=device,
            dtype=precision.dtype,
        )
        measure = (lambda: evaluation.named("val")) if split == "val" else None
        speed = train(spec, state, batches, reporter, folder, measure)

        reporter.event("stage", {"name": "evaluate"})
        values = {f"{split}/accuracy": dict(state.progress.measured).get(spec.training.epochs)}
        if values[f"{split}/accuracy"] is None:
            values = evaluation.named(split)
            said = {"epoch": spec.training.epochs, "step": state.progress.step, "values": values}
            reporter.event("metrics", said)

        reporter.event("stage", {"name": "adapter"})
        parameters = trainable(model)
        adapter = None
        if spec.training.epochs > 0:
            trained = {name: parameter.detach() for name, parameter in parameters.items()}
            file = AdapterFile(spec, splits.class_names, preprocessing, loaded.weights_hash, trained)
            uri, sha256 = save_adapter(file, folder)
            adapter = Adapter(uri=uri, sha256=sha256)

    head = head_name(model)
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    return RunResult(
        metrics=_metrics(spec, split, values[f"{split}/accuracy"], state.progress),
        trainable_parameters=sum(sizes.values()),
        adapter_parameters=sum(size for name, size in sizes.items() if not name.startswith(f"{head}.")),
        seconds=time.monotonic() - begun,
        train_seconds=speed.seconds,
        images_per_s=speed.images_per_s,
        peak_memory_bytes=peak_memory_bytes(device),
        adapter=adapter,
        provenance=provenance(
            weights_hash=loaded.weights_hash,
            data_hash=data_hash,
            precision=precision.name,
            device=device,
            threads=spec.resources.threads,
        ),
    )


def _load_data(spec: RunSpec, image_size: int, reporter: Reporter) -> tuple[Splits, str]:
    source, task = registry.load(data)[spec.task.source], spec.task
    params = source.Params.model_validate(task.params)
    size = decoded_size(image_size, spec.training.augmentation)
    splits = source.load(params, phase=task.phase, num_classes=task.num_classes, image_size=size, reporter=reporter)
    if len(splits.train) == 0:
        raise RunError("data_missing", f"task: {task.name} has no training images")
    return splits, source.fingerprint(params, phase=task.phase, num_classes=task.num_classes)


def _adapted(spec: RunSpec, model: nn.Module, num_classes: int) -> nn.Module:
    model.reset_classifier(num_classes)
    adapt(model, spec, torch.Generator().manual_seed(keyed_seed(spec.seed, "init")))
    if spec.init_from:
        start_from(model, spec.init_from)
    return model


def _regularizer(
    spec: RunSpec, model: nn.Module, precision: Precision, train_samples: int, num_classes: int
) -> Regularizer:
    module = registry.load(regularizers)[spec.regularizer.name]
    setting = Setting(
        model=model,
        current=Pass(SeededSource(spec.seed)),
        micro_batch=spec.training.micro_batch,
        autocast=precision.autocast,
        train_samples=train_samples,
        num_classes=num_classes,
    )
    return module.Regularizer(module.Params.model_validate(spec.regularizer.params), setting)


class _Evaluation:
    """Measures the model on the split that the phase holds out."""

    def __init__(
        self,
        spec: RunSpec,
        model: nn.Module,
        held_out: ImageSet,
        preprocessing: Preprocessing,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self._model, self._held_out = model, held_out
        self._with = (preprocessing, precision, device)
        self._diagnostics = Diagnostics(model) if spec.training.diagnostics else None

    def named(self, split: str) -> dict[str, float]:
        """`<split>/accuracy`, and the diagnostics where the spec asks for them."""
        values = {"accuracy": accuracy(logits_of(self._model, self._held_out, *self._with), self._held_out.labels)}
        if self._diagnostics:
            values |= self._diagnostics.measure(self._held_out, lambda images: batches_of(images, *self._with))
        return {f"{split}/{name}": value for name, value in values.items()}


def _metrics(spec: RunSpec, split: str, last: float, progress: Progress) -> list[Metric]:
    def metric(split: str, value: float, epoch: int) -> Metric:
        return Metric(task=spec.task.name, split=split, metric="accuracy", value=value, epoch=epoch)

    metrics = [metric(split, last, spec.training.epochs)]
    if progress.measured:
        epoch, best = max(progress.measured, key=lambda found: (found[1], -found[0]))
        metrics.append(metric("best_val", best, epoch))
    return metrics


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turns what libraries raise when memory or disk run out into the reason it means."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError("out_of_memory", _first_line(error)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError("disk_full", _first_line(error)) from error
    except RuntimeError as error:
        if isinstance(error, RunError) or "can't allocate memory" not in str(error):
            raise
        raise RunError("out_of_memory", _first_line(error)) from error


def _first_line(error: BaseException) -> Any:
    return (str(error) or type(error).__name__).splitlines()[0]
