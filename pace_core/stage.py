"""A stage of training: its data, the adapted model with its regularizer and optimizer, and its batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pace_core import data, methods, regularizers
from pace_core.adapters import adapt_model
from pace_core.backbones import load, vision
from pace_core.data import Phase, Source, Splits
from pace_core.evaluation import Evaluation, Generation, evaluation_of
from pace_core.init_from import start_from
from pace_core.network.parts import head_prefix, start_head
from pace_core.network.recomputed import recompute_blocks
from pace_core.network.search_space import Architecture
from pace_core.noise import Pass, SeededSource, keyed_seed
from pace_core.preprocessing import Preprocessing
from pace_core.regularizers import Regularizer, StepContext
from pace_core.spec import Reporter, RunError, RunSpec
from pace_core.spec.text import LONGEST_NAME, shown, valid_unicode
from pace_core.tokenization import Tokenization
from pace_core.training.augmentation import Augmentation
from pace_core.training.average import Average
from pace_core.training.batches import Batches
from pace_core.training.checkpoint import Basis, Checkpoint, Progress, State, save_checkpoint
from pace_core.training.compute import Compute
from pace_core.training.loop import Speed, train
from pace_core.training.optimizer import build_optimizer, trainable
from pace_core.training.recorded import RecordedSteps
from pace_core.training.run_log import samples, say, training_lines

if TYPE_CHECKING:
    from pace_core.backbones.load import Loaded


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run: the spec, what it computes with, and where it reports, writes and goes on from."""

    spec: RunSpec
    compute: Compute
    reporter: Reporter
    folder: str
    """fsspec URL of the attempt's own folder."""
    checkpoint: Checkpoint | None
    """The state that an earlier attempt left."""


@dataclass(frozen=True)
class Stage:
    """A stage of training, ready to begin or to go on."""

    spec: RunSpec
    """The settings of this stage; those of a supernet may differ from the run's."""
    splits: Splits
    basis: Basis
    state: State


@dataclass(frozen=True)
class Trained:
    """The outcome of a run's training."""

    stage: Stage
    evaluation: Evaluation | Generation
    speed: Speed
    """Of all training in this attempt."""
    architecture: Architecture | None = None
    """The one that the search found; None for a method that does not search."""


def train_from_scratch(attempt: Attempt, loaded: "Loaded", architecture: Architecture | None = None) -> Trained:
    """Trains the spec's method on a pretrained network, from where an earlier attempt was. Raises as `run`.

    With `architecture`, the method gets that architecture. The model of `loaded` is adapted in place.
    """
    spec = with_architecture(attempt.spec, architecture) if architecture else attempt.spec
    stage = prepare(attempt, spec, spec.task.phase, loaded, Progress(architecture=architecture))
    evaluation = evaluation_of(stage.state, stage.splits, attempt.compute, spec.training.diagnostics)
    attempt.reporter.event("stage", {"name": "train"})
    if attempt.checkpoint and attempt.checkpoint.progress.stage == "train":
        stage.state.load(attempt.checkpoint)
    save = partial(save_checkpoint, stage.state, attempt.spec, stage.basis, attempt.folder)
    measure = evaluation.measure if evaluation.split == "val" else None
    steps = batches(stage, attempt.compute)
    _say_what_trains(stage, steps, attempt.reporter)
    speed = train(
        spec, stage.state, steps, attempt.reporter, save, measure, samples(evaluation.count, stage.splits.unit)
    )
    return Trained(stage, evaluation, speed, architecture)


def _say_what_trains(stage: Stage, steps: Batches, reporter: Reporter) -> None:
    """Logs what is trained, for how long, and what is measured."""
    spec, model, batch = stage.spec, stage.state.model, samples(steps.batch_size, stage.splits.unit)
    sizes = {name: parameter.numel() for name, parameter in trainable(model).items()}
    for line in training_lines(spec, steps.steps_per_epoch, batch, sizes, head_prefix(model)):
        say(reporter, line)


def prepare(attempt: Attempt, spec: RunSpec, phase: Phase, loaded: "Loaded", progress: Progress) -> Stage:
    """Loads the data of a phase and adapts the pretrained network, starting from `init_from` where the spec has one.

    Raises RunError where the data is missing or is not what an earlier attempt was trained on.
    """
    attempt.reporter.event("stage", {"name": "data"})
    splits = load_data(spec, phase, attempt.compute.preprocessing, attempt.reporter)
    basis = Basis(data_hash(spec, phase), splits.class_names, loaded.weights_hash)
    # a checkpoint of the search is of less data than the training after it
    if attempt.checkpoint and (attempt.checkpoint.progress.stage == "train") == (progress.stage == "train"):
        attempt.checkpoint.require(basis)
    model = adapted(spec, loaded.model, splits.num_classes, attempt.compute)
    start_from(model, spec.init_from, splits.class_names, loaded.weights_hash, attempt.reporter)
    regularizer = regularized(spec, model, splits, attempt.compute, recorded=progress.stage == "train")
    state = State(model, optimizer_of(spec, model), regularizer, progress, average_of(spec, model))
    return Stage(spec, splits, basis, state)


def with_architecture(spec: RunSpec, architecture: Architecture) -> RunSpec:
    """Returns the spec with a searched architecture filled in."""
    method = spec.method.model_copy(update={"architecture": architecture})
    return spec.model_copy(update={"method": method})


def load_backbone(spec: RunSpec) -> "Loaded":
    """Loads the backbone that the spec names, of the kind that reads its task's samples. Raises RunError."""
    return load.load(spec, source_of(spec)[0].gives)


def preprocessing_of(spec: RunSpec, loaded: "Loaded") -> Preprocessing | Tokenization:
    """Returns the transform of the spec's images or texts for this backbone."""
    if not isinstance(loaded, vision.Loaded):
        return loaded.preprocessing
    _, params = source_of(spec)
    return Preprocessing.of(
        augmentation=spec.training.augmentation,
        image_size=loaded.image_size,
        mean=loaded.mean,
        std=loaded.std,
        exif=getattr(params, "exif", False),  # the bundled pictures come from no files
        background=getattr(params, "background", None),
    )


def load_data(spec: RunSpec, phase: Phase, preprocessing: Preprocessing | Tokenization, reporter: Reporter) -> Splits:
    """Returns the splits that the phase may open. Raises RunError where there is nothing to train on."""
    source, params = source_of(spec)
    num_classes = spec.task.num_classes
    splits = source.load(params, phase=phase, num_classes=num_classes, preprocessing=preprocessing, reporter=reporter)
    if len(splits.train) == 0:
        raise RunError("data_missing", f"task: {spec.task.name} has no training {splits.report.unit}")
    _check_class_names(splits.class_names)
    data.tell(splits.report, reporter)
    return splits


def _check_class_names(names: Sequence[str]) -> None:
    """Raises RunError `data_corrupt` for names that cannot be written into files, tables and messages."""
    unwritable = [name for name in names if valid_unicode(name) != name or "\0" in name]
    if unwritable:
        message = f"the name of class '{shown(unwritable[0])}' is not UTF-8 text; rename its folder or label"
        raise RunError("data_corrupt", f"task: {message}{_and_more(unwritable)}")
    long = [name for name in names if len(name) > LONGEST_NAME]
    if long:
        message = f"the name of class '{shown(long[0], 60)}' has {len(long[0]):,} characters, more than {LONGEST_NAME}"
        raise RunError("data_corrupt", f"task: {message}{_and_more(long)}")


def _and_more(names: Sequence[str]) -> str:
    return f" ({len(names)} classes like this)" if len(names) > 1 else ""


def data_hash(spec: RunSpec, phase: Phase) -> str:
    """Returns the SHA-256 of all data that a phase may open."""
    source, params = source_of(spec)
    return source.fingerprint(params, phase=phase, num_classes=spec.task.num_classes)


def source_of(spec: RunSpec) -> tuple[Source[Any], Any]:
    """Returns the spec's data source and its parameters."""
    source = data.find(spec.task.source)
    return source, source.params.model_validate(spec.task.params)


def adapted(spec: RunSpec, model: nn.Module, num_classes: int, compute: Compute) -> nn.Module:
    """Adapts a pretrained model with the spec's method and gives it a new head; returns it in training mode."""
    model.reset_classifier(num_classes)
    adapt_model(model, spec, torch.Generator().manual_seed(keyed_seed(spec.seed, "init")))
    start_head(model, spec.training.head_init, torch.Generator().manual_seed(keyed_seed(spec.seed, "head")))
    if spec.backbone.frozen_dtype == "bfloat16":
        if compute.precision.name != "bfloat16":
            message = f"bfloat16 needs training.precision bfloat16, and here it is {compute.precision.name}"
            raise RunError("spec_invalid", f"backbone.frozen_dtype: {message}; set both, or neither")
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
        return model.to(compute.device).train()
    return model.to(compute.device, compute.precision.dtype).train()


def regularized(spec: RunSpec, model: nn.Module, splits: Splits, compute: Compute, *, recorded: bool) -> Regularizer:
    """Returns the spec's regularizer for this model. `recorded`: every step does the same, so a GPU may record it."""
    regularizer = regularizers.find(spec.regularizer.name)
    current = Pass(SeededSource(spec.seed))
    context = StepContext(
        model=model,
        current=current,
        micro_batch=spec.training.micro_batch,
        autocast=compute.precision.autocast,
        train_samples=len(splits.train),
        num_classes=splits.num_classes,
    )
    if spec.training.recompute:
        recompute_blocks(model, current)
    made = regularizer.make(regularizer.params.model_validate(spec.regularizer.params), context)
    return RecordedSteps(made, context) if recorded and compute.device.type == "cuda" else made


def batches(stage: Stage, compute: Compute) -> Batches:
    """Returns the training samples of a stage, cut into its steps."""
    spec, splits = stage.spec, stage.splits
    augment = None
    if isinstance(compute.preprocessing, Preprocessing):
        mean = compute.preprocessing.mean
        augment = Augmentation(spec.training, num_classes=splits.num_classes, mean=mean, seed=spec.seed)
    return Batches(
        splits.train,
        compute.preprocessing,
        batch_size=spec.training.batch_size,
        seed=spec.seed,
        augmentation=spec.training.augmentation,
        device=compute.device,
        dtype=compute.precision.dtype,
        augment=augment,
    )


def optimizer_of(spec: RunSpec, model: nn.Module) -> torch.optim.Optimizer:
    """Returns the spec's optimizer over the trained parameters."""
    return build_optimizer(model, spec.optimizer, methods.find(spec.method.name).undecayed)


def average_of(spec: RunSpec, model: nn.Module) -> Average | None:
    """Returns the moving average of the trained parameters, where the spec asks for one."""
    return None if spec.training.ema_decay is None else Average(model, spec.training.ema_decay)
