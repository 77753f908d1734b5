"""The life of one run, top to bottom, in the order in which it happens."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pace_core.adapters import AdapterFile, save_adapter
from pace_core.answers import save_answers, save_scores
from pace_core.evaluation import Evaluation, Generation
from pace_core.network.parts import head_prefix
from pace_core.provenance import peak_memory_bytes, provenance
from pace_core.search import searches, train_by_search
from pace_core.spec import REASONS, Adapter, Metric, Reporter, RunError, RunResult, RunSpec
from pace_core.stage import Attempt, Trained, load_backbone, preprocessing_of, train_from_scratch
from pace_core.training.checkpoint import Checkpoint, Progress, read_checkpoint, trained_model
from pace_core.training.compute import Compute
from pace_core.training.optimizer import trainable
from pace_core.training.precision import choose_device, choose_precision
from pace_core.training.run_log import least_accurate, result_line, say, warnings


def run(spec: RunSpec, reporter: Reporter, folder: str, resume_from: str | None = None) -> RunResult:
    """Runs a resolved spec. `folder`: fsspec URL of this attempt's own folder; `resume_from`: an earlier attempt's.

    Raises RunError with the reason of the failure, or Interrupted when the reporter asks for it. A checkpoint that was
    written stays in the folder in both cases.
    """
    begun = time.monotonic()
    torch.set_num_threads(spec.resources.threads)  # in this thread: the result's last bits depend on it
    device = choose_device(spec.resources.device)
    precision = choose_precision(spec.training, device)

    with _named_failures():
        reporter.event("stage", {"name": "backbone"})
        loaded = load_backbone(spec)
        compute = Compute(preprocessing_of(spec, loaded), precision, device)
        attempt = Attempt(spec, compute, reporter, folder, _earlier(spec, resume_from, folder, reporter))

        trained = train_by_search(attempt, loaded) if searches(spec) else train_from_scratch(attempt, loaded)

        reporter.event("stage", {"name": "evaluate"})
        last = _last(trained, reporter)
        _say_what_came_out(trained, last, reporter)
        others = _others(trained, reporter)
        beside = trained.evaluation.beside()

        reporter.event("stage", {"name": "adapter"})
        _save_answers(trained, attempt)
        adapter = _save(trained, attempt) if spec.training.epochs > 0 else None

    model, progress = trained.stage.state.model, trained.stage.state.progress
    sizes = {name: parameter.numel() for name, parameter in trainable(model).items()}
    head = head_prefix(model)
    return RunResult(
        metrics=[*_metrics(spec, trained.evaluation, last, beside, progress), *others],
        trainable_parameters=sum(sizes.values()),
        adapter_parameters=sum(size for name, size in sizes.items() if not name.startswith(head)),
        seconds=time.monotonic() - begun,
        train_seconds=trained.speed.seconds,
        images_per_s=trained.speed.images_per_s,
        peak_memory_bytes=peak_memory_bytes(device),
        adapter=adapter,
        architecture=trained.architecture,
        data=trained.stage.splits.report,
        provenance=provenance(
            weights_hash=loaded.weights_hash,
            data_hash=trained.stage.basis.data_hash,
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


def _last(trained: Trained, reporter: Reporter) -> float:
    """Returns the task's measure after the last epoch: as measured while training, or measured and reported now."""
    epochs, progress = trained.stage.spec.training.epochs, trained.stage.state.progress
    measured = dict(progress.measured)
    if epochs in measured:
        return measured[epochs]
    values = trained.evaluation.measure()
    reporter.event("metrics", {"epoch": epochs, "step": progress.step, "values": values})
    return next(iter(values.values()))


def _say_what_came_out(trained: Trained, value: float, reporter: Reporter) -> None:
    """Logs the result with its standard error, and warns of what makes it doubtful."""
    stage, evaluation, unit = trained.stage, trained.evaluation, trained.stage.splits.unit
    say(reporter, result_line(evaluation.split, value, evaluation.count, evaluation.metric, unit))
    counts = evaluation.label_counts(stage.splits.num_classes)
    if evaluation.metric != "accuracy":
        return
    for warning in warnings(stage.spec, stage.state.progress, evaluation.split, value, counts, unit):
        say(reporter, warning, "warning")


def _others(trained: Trained, reporter: Reporter) -> list[Metric]:
    """Measures the other tests of the task's benchmark, each as a task of its own, and logs them."""
    spec = trained.stage.spec
    benchmark = spec.task.name.partition("/")[0]
    metrics: list[Metric] = []
    for found in trained.evaluation.measure_targets():
        line = result_line("test", found.accuracy, found.images)
        say(reporter, f"{found.task}: {line}, the largest of {found.logits:,} logits")
        metrics.append(
            Metric(
                task=f"{benchmark}/{found.task}",
                split="test",
                metric="accuracy",
                value=found.accuracy,
                epoch=spec.training.epochs,
                samples=found.images,
                logits=found.logits,
            )
        )
    return metrics


def _save_answers(trained: Trained, attempt: Attempt) -> None:
    """Writes what the model answered for each sample into the attempt's folder; names the classes it knows least."""
    splits, evaluation = trained.stage.splits, trained.evaluation
    if isinstance(evaluation, Generation):
        evaluation.save(attempt.folder)
        return
    logits, labels = evaluation.last_logits(), evaluation.labels
    if splits.scored:
        save_scores(logits[:, 0], labels, splits.measured_names, attempt.folder)
        return
    counts = save_answers(logits, labels, splits.measured_names, splits.class_names, attempt.folder, splits.unit)
    if line := least_accurate(counts, splits.class_names, splits.unit):
        say(attempt.reporter, line)


def _save(trained: Trained, attempt: Attempt) -> Adapter:
    """Writes the adapter into the attempt's folder."""
    stage = trained.stage
    with trained_model(stage.state):
        tensors = {name: parameter.detach().clone() for name, parameter in trainable(stage.state.model).items()}
    preprocessing, weights_hash = attempt.compute.preprocessing, stage.basis.weights_hash
    file = AdapterFile(stage.spec, stage.splits.class_names, preprocessing, weights_hash, tensors)
    uri, sha256 = save_adapter(file, attempt.folder)
    return Adapter(uri=uri, sha256=sha256)


def _metrics(
    spec: RunSpec, evaluation: Evaluation | Generation, last: float, beside: dict[str, float], progress: Progress
) -> list[Metric]:
    def metric(split: str, value: float, epoch: int, measure: str = evaluation.metric) -> Metric:
        name, samples = spec.task.name, evaluation.count
        return Metric(task=name, split=split, metric=measure, value=value, epoch=epoch, samples=samples)

    epochs = spec.training.epochs
    metrics = [metric(evaluation.split, last, epochs)]
    metrics += [metric(evaluation.split, value, epochs, measure) for measure, value in beside.items()]
    if progress.measured:
        epoch, best = max(progress.measured, key=lambda point: (point[1], -point[0]))
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
