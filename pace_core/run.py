"""The life of one run, top to bottom, in the order in which it happens."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from pace_core.adapters import AdapterFile, save_adapter
from pace_core.backbones import vision
from pace_core.data import Images, ImageSet
from pace_core.diagnostics import Diagnostics
from pace_core.init_from import start_from
from pace_core.network.parts import head_prefix
from pace_core.provenance import peak_memory_bytes, provenance
from pace_core.search import inherit, search, searches, with_architecture
from pace_core.spec import REASONS, Adapter, Metric, Reporter, RunError, RunResult, RunSpec
from pace_core.stage import (
    Ground,
    adapted,
    average_of,
    batches,
    data_hash,
    load_data,
    optimizer_of,
    preprocessing_of,
    regularized,
)
from pace_core.training.checkpoint import (
    Basis,
    Checkpoint,
    Progress,
    State,
    read_checkpoint,
    save_checkpoint,
    trained_model,
)
from pace_core.training.evaluate import accuracy, batches_of, logits_of, mean_cross_entropy
from pace_core.training.loop import Speed, train
from pace_core.training.optimizer import trainable
from pace_core.training.precision import choose_device, choose_precision


def run(spec: RunSpec, reporter: Reporter, folder: str, resume_from: str | None = None) -> RunResult:
    """Runs a resolved spec. `folder`: fsspec URL of this attempt's own folder; `resume_from`: an earlier attempt's.

    Raises RunError with the reason of the failure, or Interrupted when the reporter says so. A checkpoint that was
    written stays in the folder in both cases.
    """
    begun = time.monotonic()
    torch.set_num_threads(spec.resources.threads)  # in this thread: the result's last bits depend on it
    device = choose_device(spec.resources.device)
    precision = choose_precision(spec.training, device)

    with _named_failures():
        reporter.event("stage", {"name": "backbone"})
        loaded = vision.load(spec.backbone, num_classes=0, drop_path=spec.training.drop_path or 0.0)
        ground = Ground(preprocessing_of(spec, loaded), precision, device)
        saved = _earlier(spec, resume_from, folder, reporter)

        found = search(spec, ground, reporter, folder, saved) if searches(spec) else None
        chosen = with_architecture(spec, found.architecture) if found else spec

        reporter.event("stage", {"name": "data"})
        splits = load_data(spec, spec.task.phase, ground.preprocessing, reporter)
        basis = Basis(data_hash(spec), splits.class_names, loaded.weights_hash)
        if saved:
            saved.require(basis)
        split, held_out = splits.measured

        model = adapted(chosen, loaded.model, splits.num_classes, ground)
        start_from(model, spec.init_from, splits.class_names, loaded.weights_hash, reporter)
        regularizer = regularized(spec, model, splits, ground)
        progress = Progress(architecture=found.architecture if found else None)
        state = State(model, optimizer_of(spec, model), regularizer, progress, average_of(spec, model))
        evaluation = _Evaluation(spec, state, held_out, splits.train, ground)
        speed = found.speed if found else Speed(0.0, 0.0)

        if found and found.supernet:
            inherit(model, found.supernet.model)
            progress.step = found.supernet.progress.step
        else:
            reporter.event("stage", {"name": "train"})
            if saved and saved.progress.stage == "train":
                state.load(saved)
            save = partial(save_checkpoint, state, spec, basis, folder)
            measure = partial(evaluation.named, "val") if split == "val" else None
            own = train(chosen, state, batches(spec, splits, ground), reporter, save, measure)
            speed = Speed(speed.seconds + own.seconds, own.images_per_s)

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
            with trained_model(state):
                trained = {name: parameter.detach().clone() for name, parameter in parameters.items()}
            file = AdapterFile(chosen, splits.class_names, ground.preprocessing, loaded.weights_hash, trained)
            uri, sha256 = save_adapter(file, folder)
            adapter = Adapter(uri=uri, sha256=sha256)

    head = head_prefix(model)
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    return RunResult(
        metrics=_metrics(spec, split, values[f"{split}/accuracy"], state.progress),
        trainable_parameters=sum(sizes.values()),
        adapter_parameters=sum(size for name, size in sizes.items() if not name.startswith(head)),
        seconds=time.monotonic() - begun,
        train_seconds=speed.seconds,
        images_per_s=speed.images_per_s,
        peak_memory_bytes=peak_memory_bytes(device),
        adapter=adapter,
        architecture=found.architecture if found else None,
        data=splits.report,
        provenance=provenance(
            weights_hash=loaded.weights_hash,
            data_hash=basis.data_hash,
            precision=precision.name,
            device=device,
            threads=spec.resources.threads,
        ),
    )


def _earlier(spec: RunSpec, resume_from: str | None, folder: str, reporter: Reporter) -> Checkpoint | None:
    if resume_from is None:
        return None
    saved = read_checkpoint(spec, resume_from, folder)
    if saved is None:
        message = "the earlier attempt left no checkpoint; this one begins at step 0"
        reporter.event("log", {"level": "info", "message": message})
    return saved


class _Evaluation:
    """Measures the model on the split that the phase holds out."""

    def __init__(self, spec: RunSpec, state: State, held_out: Images, train: ImageSet, ground: Ground) -> None:
        self._state, self._model, self._held_out, self._train = state, state.model, held_out, train
        self._with = (ground.preprocessing, ground.precision, ground.device)
        self._diagnostics = Diagnostics(state.model) if spec.training.diagnostics else None

    def named(self, split: str) -> dict[str, float]:
        """`<split>/accuracy`, and the diagnostics where the spec asks for them."""
        with trained_model(self._state):
            return self._measured(split)

    def _measured(self, split: str) -> dict[str, float]:
        logits = logits_of(self._model, self._held_out, *self._with)
        values = {f"{split}/accuracy": accuracy(logits, self._held_out.labels)}
        if self._diagnostics:
            fitted = logits_of(self._model, self._train, *self._with)
            values |= {
                f"{split}/loss": mean_cross_entropy(logits, self._held_out.labels),
                "train_set/accuracy": accuracy(fitted, self._train.labels),
                "train_set/loss": mean_cross_entropy(fitted, self._train.labels),
            }
            measured = self._diagnostics.measure(self._held_out, lambda images: batches_of(images, *self._with))
            values |= {f"{split}/{name}": value for name, value in measured.items()}
        return values


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
        raise _named("out_of_memory", error) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _named("disk_full", error) from error
    except RuntimeError as error:
        if isinstance(error, RunError) or "can't allocate memory" not in str(error):
            raise
        raise _named("out_of_memory", error) from error


def _named(reason: str, error: BaseException) -> RunError:
    """The cure first, then what the library said."""
    return RunError(reason, f"{REASONS[reason].sentence} ({(str(error) or type(error).__name__).splitlines()[0]})")
