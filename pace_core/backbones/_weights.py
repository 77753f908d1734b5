"""Pretrained weights put into a network, from a file or timm's hub. Nothing is ever unpickled but tensors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.models import deit, swin_transformer, swin_transformer_v2, vision_transformer
from torch import Tensor, nn

from pace_core.backbones import _checkpoints
from pace_core.backbones.build import size_argument
from pace_core.spec import RunError
from pace_core.spec.text import shown
from pace_core.tensors import not_finite

_CLASSIFIERS = ("head.", "head_dist.", "fc.")
_SHOWN = 5
_CURE = "give the path of a .safetensors, .pth or .npz file in backbone.weights, or none for random weights"

_FILTERS = {
    vision_transformer.__name__: vision_transformer.checkpoint_filter_fn,
    deit.__name__: lambda state, model: vision_transformer.checkpoint_filter_fn(state, model, adapt_layer_scale=True),
    swin_transformer.__name__: swin_transformer.checkpoint_filter_fn,
    swin_transformer_v2.__name__: swin_transformer_v2.checkpoint_filter_fn,
}
"""By the module a model's class stands in: timm's translation of other layouts, and of another image size."""


def require_file(path: Path) -> None:
    """Raises RunError `weights_missing` where there is none."""
    if not path.is_file():
        raise RunError("weights_missing", f"backbone.weights: there is no file {path}; {_CURE}")


def require_hub_weights(name: str) -> None:
    """Raises RunError `weights_missing` where timm knows of none, without asking the hub."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        known = timm.list_pretrained(f"{name.partition('.')[0].removesuffix('_in21k')}.*")
        meant = [other for other in known if other.endswith(".orig_in21k")] if name.endswith("_in21k") else known
        named = f"; it has those of {', '.join((meant or known)[:_SHOWN])}" if known else ""
        raise RunError("weights_missing", f"backbone.weights: timm has no pretrained weights of {name}{named}; {_CURE}")


def fill_from_file(model: Any, name: str, path: Path) -> str:
    """Loads all but the classifier; returns the SHA-256 of the file.

    Raises RunError: `weights_missing` for a file that cannot be read, `spec_invalid` for one of another network.
    """
    where = f"backbone.weights: {shown(str(path), 500)}"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        content = _block_count(path) if path.suffix == ".npz" else _checkpoints.read(path)
    except Exception as error:  # each format's reader has its own
        raise RunError(
            "weights_missing", f"{where} cannot be read as weights: {_first_line(error)}; {_CURE}"
        ) from error
    try:
        if isinstance(content, int):
            _fill_from_npz(model, path, content)
        else:
            model.load_state_dict(_fitting(model, content))
    except Exception as error:  # timm's translations stumble over whatever the file lacks
        message = f"{where} does not fit {name}: {_first_line(error)}"
        raise RunError("spec_invalid", f"{message}; choose the network that these weights are of") from error
    if wrong := not_finite(model.state_dict()):
        raise RunError("weights_missing", f"{where} holds values that are not finite numbers, in {wrong}; {_CURE}")
    return digest


def fill_from_hub(model: nn.Module, name: str, image_size: int | None) -> str:
    """Loads timm's own weights of that name; returns the SHA-256 of the tensors. Raises RunError `weights_missing`."""
    try:
        # With timm's own number of classes every key must fit; with another, timm forgives missing ones.
        source = timm.create_model(name, pretrained=True, **size_argument(image_size))
    except Exception as error:  # no network, no such repository, a broken download: each library has its own errors
        message = f"backbone.weights: the hub's weights of {name} could not be loaded: {_first_line(error)}"
        raise RunError("weights_missing", f"{message}; {_CURE}") from error
    expected = model.state_dict()
    model.load_state_dict({key: value for key, value in source.state_dict().items() if key in expected})
    return hash_of(model.state_dict())


def hash_of(state: dict[str, Tensor]) -> str:
    """Returns the SHA-256 of the tensors in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fitting(model: Any, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Returns the one set of tensors in the file that fits the model. Raises ValueError that says why there is none."""
    found = _checkpoints.states(content)
    if not found:
        raise ValueError(f"it holds no tensors by name, but {_checkpoints.keys_of(content)}")
    fitting: dict[str, dict[str, Tensor]] = {}
    faults: dict[str, str] = {}
    for place, state in found.items():
        try:
            fitting[place] = _translated(model, state)
        except Exception as error:  # timm's translations stumble over whatever a state lacks
            faults[place] = _first_line(error)
    for place in (*_checkpoints.PREFERRED, *(fitting if len(fitting) == 1 else ())):
        if place in fitting:
            return fitting[place]
    if fitting:
        raise ValueError(f"it holds several that fit, {', '.join(fitting)}; save the tensors of the one you mean alone")
    place = next((place for place in _checkpoints.PREFERRED if place in faults), next(iter(faults)))
    if len(faults) == 1:
        raise ValueError(faults[place])
    names = ", ".join(place or "the top level" for place in faults)
    raise ValueError(f"it holds tensors in {names}, none of which fits: {faults[place]}")


def _translated(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors under timm's names. Raises ValueError where names or shapes are not the model's."""
    # in float32 before translation: positions are resampled there
    headless = {
        key: value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if not key.startswith(_CLASSIFIERS)
    }
    translated = _FILTERS[type(model).__module__](headless, model)
    kept = {key: value for key, value in translated.items() if not key.startswith(_CLASSIFIERS)}
    expected = model.state_dict()
    faults = [
        f"{key} is {tuple(kept[key].shape)}, not {tuple(expected[key].shape)}"
        for key in expected
        if key in kept and kept[key].shape != expected[key].shape
    ]
    faults += [f"{key} is missing" for key in expected if key not in kept]
    faults += [f"{shown(key, 100)} is not of this network" for key in kept if key not in expected]
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(", ".join(faults[:_SHOWN]) + more)
    return kept


def _block_count(path: Path) -> int:
    with np.load(path, allow_pickle=False) as file:
        return len({key.split("encoderblock_")[1].split("/")[0] for key in file.files if "encoderblock_" in key})


def _fill_from_npz(model: Any, path: Path, blocks: int) -> None:
    if blocks not in (0, len(model.blocks)):  # 0: stacked in one array; timm would leave surplus blocks out in silence
        raise ValueError(f"it has {blocks} blocks, not {len(model.blocks)}")
    with torch.no_grad():
        model.load_pretrained(str(path))


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{said[0] if said else type(error).__name__}".rstrip(".")
