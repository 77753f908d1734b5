"""What a stage of training stands on: data, the adapted model, its regularizer and optimizer, batches."""

from dataclasses import dataclass

import torch
from torch import nn

from pace_core import data, registry, regularizers
from pace_core.adapters import adapt, start_from
from pace_core.data import ImageSet, Phase, Splits
from pace_core.noise import Pass, SeededSource, keyed_seed
from pace_core.regularizers import Regularizer, Setting
from pace_core.spec import Reporter, RunError, RunSpec
from pace_core.training.batches import Batches, Preprocessing, decoded_size
from pace_core.training.precision import Precision


@dataclass(frozen=True)
class Ground:
    """What all stages of a run compute with."""

    preprocessing: Preprocessing
    precision: Precision
    device: torch.device


def load_data(spec: RunSpec, phase: Phase, image_size: int, reporter: Reporter) -> Splits:
    """The splits that the phase may open. Raises RunError where there is nothing to train on."""
    source, task = registry.load(data)[spec.task.source], spec.task
    params = source.Params.model_validate(task.params)
    size = decoded_size(image_size, spec.training.augmentation)
    splits = source.load(params, phase=phase, num_classes=task.num_classes, image_size=size, reporter=reporter)
    if len(splits.train) == 0:
        raise RunError("data_missing", f"task: {task.name} has no training images")
    return splits


def data_hash(spec: RunSpec) -> str:
    """Of all data that the spec's phase may open."""
    source, task = registry.load(data)[spec.task.source], spec.task
    params = source.Params.model_validate(task.params)
    return source.fingerprint(params, phase=task.phase, num_classes=task.num_classes)


def adapted(spec: RunSpec, model: nn.Module, num_classes: int, ground: Ground) -> nn.Module:
    """The pretrained model with the spec's method in it and a new head, in training mode."""
    model.reset_classifier(num_classes)
    adapt(model, spec, torch.Generator().manual_seed(keyed_seed(spec.seed, "init")))
    if spec.init_from:
        start_from(model, spec.init_from)
    return model.to(ground.device, ground.precision.dtype).train()


def regularized(spec: RunSpec, model: nn.Module, splits: Splits, ground: Ground) -> Regularizer:
    """The spec's regularizer on this model."""
    module = registry.load(regularizers)[spec.regularizer.name]
    setting = Setting(
        model=model,
        current=Pass(SeededSource(spec.seed)),
        micro_batch=spec.training.micro_batch,
        autocast=ground.precision.autocast,
        train_samples=len(splits.train),
        num_classes=splits.num_classes,
    )
    return module.Regularizer(module.Params.model_validate(spec.regularizer.params), setting)


def batches(spec: RunSpec, images: ImageSet, ground: Ground) -> Batches:
    """The images cut into the spec's steps."""
    return Batches(
        images,
        ground.preprocessing,
        batch_size=spec.training.batch_size,
        seed=spec.seed,
        augmentation=spec.training.augmentation,
        device=ground.device,
        dtype=ground.precision.dtype,
    )
