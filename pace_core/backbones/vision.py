"""A pretrained ViT or Swin, ready for a method to adapt: built by timm, weights from the package, a hub or a file."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from pace_core.backbones import mini
from pace_core.backbones._swin_v2 import join_biases
from pace_core.backbones._weights import fill_from_file, fill_from_hub, hash_of, require_file, require_hub_weights
from pace_core.backbones.build import Family, Triple, build, input_of, timm_family
from pace_core.roots import weights_path
from pace_core.spec import Backbone, RunError

_INIT_SEED = 0


@dataclass(frozen=True)
class Loaded:
    """A backbone with a new classifier, on the CPU, in float32."""

    model: nn.Module
    mean: Triple
    std: Triple
    """Of the input's channels, for pixels in 0..1."""
    image_size: int
    """Side of the square input."""
    weights_hash: str
    """SHA-256 of the weight file, or of the tensors where there is none."""
    family: Family


def load(backbone: Backbone, num_classes: int, drop_path: float) -> Loaded:
    """Loads the backbone that a spec names. It is a copy: changes to it touch no other run.

    `num_classes` of the new classifier (0: none), `drop_path`: rate in the last block, growing linearly from 0.
    Raises RunError `weights_missing` or `spec_invalid`.
    """
    origin, version = _origin(backbone)
    _forget_others(backbone.name, origin, version, backbone.image_size)
    pretrained, weights_hash = _pretrained(backbone.name, origin, version, backbone.image_size, drop_path)
    model: Any = copy.deepcopy(pretrained)
    if num_classes:
        with _seeded():
            model.reset_classifier(num_classes)
    image_size, mean, std = input_of(backbone.name, model)
    match backbone.normalization:
        case "imagenet":
            mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
        case "half":
            mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        case "none":
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        case "weights":
            pass
    return Loaded(model, mean, std, image_size, weights_hash, timm_family(backbone.name))


def _origin(backbone: Backbone) -> tuple[str | Path, tuple[int, int] | None]:
    """`hub`, `none` or a file, and what tells one state of that file from the next."""
    weights, ships = backbone.weights, backbone.name == mini.NAME
    if weights == "auto":
        weights = "bundled" if ships else "hub"
    if weights == "bundled" and not ships:
        message = f"backbone.weights: no weights for {backbone.name} are bundled; use hub, none or the path of a file"
        raise RunError("spec_invalid", message)
    if weights == "hub" and ships:
        raise RunError(
            "spec_invalid", f"backbone.weights: {mini.NAME} is not on a hub; its weights are bundled, so use bundled"
        )
    if weights in ("hub", "none"):
        return weights, None
    path = mini.WEIGHTS if weights == "bundled" else weights_path(Path(weights).expanduser())
    try:
        stat = path.stat()
    except OSError:
        return path, None
    return path, (stat.st_mtime_ns, stat.st_size)


_newest: tuple[object, ...] = ()


def _forget_others(*network: object) -> None:
    """Frees the networks that earlier runs of a warm worker read, unless they are this one."""
    global _newest
    if network != _newest:
        _pretrained.cache_clear()
        _newest = network


# A warm worker reads and converts weights once, then copies; a second place for the same network without drop path.
@lru_cache(maxsize=2)
def _pretrained(
    name: str, origin: str | Path, version: tuple[int, int] | None, image_size: int | None, drop_path: float
) -> tuple[nn.Module, str]:
    timm_family(name)
    if isinstance(origin, Path):
        require_file(origin)
    elif origin == "hub":
        require_hub_weights(name)
    with _seeded():
        model = build(name, image_size, drop_path)
    if isinstance(origin, Path):
        weights_hash = fill_from_file(model, name, origin)
    elif origin == "hub":
        weights_hash = fill_from_hub(model, name, image_size)
    else:
        weights_hash = hash_of(model.state_dict())
    join_biases(model)
    return model, weights_hash


@contextmanager
def _seeded() -> Iterator[None]:
    """Random weights are the same in every run and leave the process's generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_INIT_SEED)
        yield
