"""Rules between the fields of training and optimizer, and between them and the method or regularizer."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pace_core.spec.catalogue import Catalogue
from pace_core.spec.errors import Fault
from pace_core.spec.run_spec import Optimizer

Section = Mapping[str, Any]

_RAND_AUGMENT = re.compile(r"rand(-(m\d{1,2}|n\d{1,2}|p(0(\.\d+)?|1)|mstd\d{1,3}(\.\d+)?|mmax\d{1,2}|inc[01]))*")
_OWN_FIELDS = {"adamw": ("beta1", "beta2"), "sgd": ("momentum",)}
"""Fields that only one of the optimizers has."""


def training_faults(
    training: Section, optimizer: Section | None, method: Section | None, regularizer: Section | None, known: Catalogue
) -> list[Fault]:
    """Lists the faults of all rules; a section that is None was refused already."""
    faults = [*_schedule_faults(training), *_batch_faults(training)]
    if optimizer:
        faults += _rate_faults(training, optimizer) + _optimizer_faults(optimizer)
    if regularizer and not known.regularizers[regularizer["name"]].mixes:
        faults += [
            _fault(field, f"{regularizer['name']} needs each sample as it is, and {field} mixes them; leave one out")
            for field in ("mixup", "cutmix")
            if training[field]
        ]
    if method and training["ema_decay"] is not None and _searches(method, known):
        message = f"{method['name']} searches with the supernet's own weights, not with their average; leave it out"
        faults.append(_fault("ema_decay", message))
    return faults


def _schedule_faults(training: Section) -> list[Fault]:
    epochs, warmup = training["epochs"], training["warmup_epochs"]
    if 0 < epochs <= warmup:
        message = f"{warmup:g} epochs of warm-up leave nothing of {epochs} epochs"
        return [_fault("warmup_epochs", f"{message}; leave the field out for a tenth of the run, {epochs / 10:g}")]
    if training["schedule"] == "epoch" and 0 < epochs < warmup + 2 and warmup:
        message = f"{epochs} epochs never leave the warm-up of {warmup:g}, since the rate changes one epoch late"
        return [_fault("schedule", f"{message}; use step, or at least {math.ceil(warmup) + 2} epochs")]
    return []


def _batch_faults(training: Section) -> list[Fault]:
    faults: list[Fault] = []
    micro, augment = training["micro_batch"], training["rand_augment"]
    if micro is not None and micro > training["batch_size"]:
        message = f"{micro} is more than batch_size {training['batch_size']}; use at most that"
        faults.append(_fault("micro_batch", message))
    if augment is not None and not _RAND_AUGMENT.fullmatch(augment):
        message = f"{augment!r} is not a RandAugment that timm knows; write it as rand-m9-mstd0.5-inc1"
        faults.append(_fault("rand_augment", f"{message} (m: magnitude, n: operations, p, mstd, mmax, inc)"))
    return faults


def _rate_faults(training: Section, optimizer: Section) -> list[Fault]:
    low = training["min_lr"]
    for field in ("lr", "head_lr"):
        rate = optimizer[field]
        if rate is not None and low > rate:
            message = f"{low:g} is above optimizer.{field} {rate:g}, so the rate would rise; lower it"
            return [_fault("min_lr", message)]
    return []


def _optimizer_faults(optimizer: Section) -> list[Fault]:
    faults: list[Fault] = []
    for name, fields in _OWN_FIELDS.items():
        for field in fields:
            if name != optimizer["name"] and optimizer[field] != Optimizer.model_fields[field].default:
                message = f"{optimizer['name']} has no {field}, but {name} has; leave it out or change optimizer.name"
                faults.append(Fault(pointer=f"/optimizer/{field}", code="conflict", message=message))
    return faults


def _searches(method: Section, known: Catalogue) -> bool:
    return "search" in known.methods[method["name"]].stages and method.get("architecture") is None


def _fault(field: str, message: str) -> Fault:
    return Fault(pointer=f"/training/{field}", code="conflict", message=message)
