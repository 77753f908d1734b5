"""What a stage of training stands on: data, the adapted model, its regularizer and optimizer, batches."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pace_core import data, methods, regularizers
from pace_core.adapters import adapt
from pace_core.backbones.vision import Loaded
from pace_core.data import Phase, Source, Splits
from pace_core.network.parts import start_head
from pace_core.noise import Pass, SeededSource, keyed_seed
from pace_core.preprocessing import Preprocessing
from pace_core.regularizers import Regularizer, Setting
from pace_core.spec import Reporter, RunError, RunSpec
from pace_core.training.augmentation import Augmentation
from pace_core.training.average import Average
from pace_core.training.batches import Batches
from pace_core.training.optimizer import build_optimizer
from pace_core.training.precision import Precision


@dataclass(frozen=True)
class Ground:
    """What all stages of a run compute with."""

    preprocessing: Preprocessing
    precision: Precision
    device: torch.device


def preprocessing_of(spec: RunSpec, loaded: Loaded) -> Preprocessing:
    """The transform of the spec's images for this backbone."""
    _, params = source_of(spec)
    return Preprocessing.of(
        augmentation=spec.training.augmentation,
        image_size=loaded.image_size,
        mean=loaded.mean,
        std=loaded.std,
        exif=getattr(params, "exif", False),  # the bundled pictures come from no files
        background=getattr(params, "background", None),
    )


def load_data(spec: RunSpec, phase: Phase, preprocessing: Preprocessing, reporter: Reporter) -> Splits:
    """The splits that the phase may open. Raises RunError where there is nothing to train on."""
    source, params = source_of(spec)
    num_classes = spec.task.num_classes
    splits = source.load(params, phase=phase, num_classes=num_classes, preprocessing=preprocessing, reporter=reporter)
    if len(splits.train) == 0:
        raise RunError("data_missing", f"task: {spec.task.name} has no training images")
    return splits


def data_hash(spec: RunSpec) -> str:
    """Of all data that the spec's phase may open."""
    source, params = source_of(spec)
    return source.fingerprint(params, phase=spec.task.phase, num_classes=spec.task.num_classes)


def source_of(spec: RunSpec) -> tuple[Source[Any], Any]:
    """The spec's data source and its parameters."""
    source = data.find(spec.task.source)
    return source, source.params.model_validate(spec.task.params)


def adapted(spec: RunSpec, model: nn.Module, num_classes: int, ground: Ground) -> nn.Module:
    """The pretrained model with the spec's method in it and a new head, in training mode."""
    model.reset_classifier(num_classes)
    adapt(model, spec, torch.Generator().manual_seed(keyed_seed(spec.seed, "init")))
    start_head(model, spec.training.head_init, torch.Generator().manual_seed(keyed_seed(spec.seed, "head")))
    return model.to(ground.device, ground.precision.dtype).train()


def regularized(spec: RunSpec, model: nn.Module, splits: Splits, ground: Ground) -> Regularizer:
    """The spec's regularizer on this model."""
    regularizer = regularizers.find(spec.regularizer.name)
    setting = Setting(
        model=model,
        current=Pass(SeededSource(spec.seed)),
        micro_batch=spec.training.micro_batch,
        autocast=ground.precision.autocast,
        train_samples=len(splits.train),
        num_classes=splits.num_classes,
    )
    return regularizer.make(regularizer.params.model_validate(spec.regularizer.params), setting)


def batches(spec: RunSpec, splits: Splits, ground: Ground) -> Batches:
    """The training images cut into the spec's steps."""
    return Batches(
        splits.train,
        ground.preprocessing,
        batch_size=spec.training.batch_size,
        seed=spec.seed,
        augmentation=spec.training.augmentation,
        device=ground.device,
        dtype=ground.precision.dtype,
        augment=Augmentation(
            spec.training, num_classes=splits.num_classes, mean=ground.preprocessing.mean, seed=spec.seed
        ),
    )


def optimizer_of(spec: RunSpec, model: nn.Module) -> torch.optim.Optimizer:
    """The spec's optimizer over what is trained of the model."""
    return build_optimizer(model, spec.optimizer, methods.find(spec.method.name).undecayed)


def average_of(spec: RunSpec, model: nn.Module) -> Average | None:
    """The moving average of what is trained, where the spec has one."""
    return None if spec.training.ema_decay is None else Average(model, spec.training.ema_decay)
