"""Weight files read into tensors by name, wherever in a checkpoint they lie. Nothing is ever unpickled but tensors."""

import argparse
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from timm.models import clean_state_dict
from torch import Tensor

from pace_core.spec.text import shown

State = dict[str, Tensor]

ANCHOR = "patch_embed.proj.weight"
"""Every ViT and Swin of timm has it; what stands before it in a file's names is the wrapper's prefix."""
PREFERRED = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts keep weights, the averaged ones first."""
_DEEPEST = 3
_SAVE_ALONE = "save the tensors alone, with safetensors.torch.save_file(model.state_dict(), 'net.safetensors')"


def read(path: Path) -> Mapping[Any, Any]:
    """Returns what the file holds. Raises ValueError that says what it is instead and what helps."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError("it is a Git LFS pointer, not the file itself; run `git lfs pull`")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ValueError("it is a web page; download the file itself")
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm's own checkpoints keep their arguments so
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        if "weights_only" not in str(error).lower():
            raise
        raise ValueError(f"it holds more than tensors{_objects(path)}, which could run code; {_SAVE_ALONE}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not tensors by name; {_SAVE_ALONE}")
    return cast(Mapping[Any, Any], content)


def states(content: Mapping[Any, Any]) -> dict[str, State]:
    """Returns every set of tensors by name that could be a network's, by where it lies, such as `model` or `teacher.`.

    Wrappers' prefixes (`module.`, `_orig_mod.`, `model.` of Lightning, …) are taken off the names.
    """
    found: dict[str, State] = {}
    for place, state in _nested(content, "", 0):
        state = cast(State, clean_state_dict(state))
        found[place] = state
        for prefix in sorted({name.removesuffix(ANCHOR) for name in state if name.endswith(f".{ANCHOR}")}):
            inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            found[f"{place}.{prefix}".lstrip(".")] = inner
    return found


def keys_of(content: Mapping[Any, Any], most: int = 8) -> str:
    """Returns the keys of a file's top level, as a message names them."""
    names = [shown(str(key), 50) for key in content]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _nested(content: Mapping[Any, Any], place: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    if depth < _DEEPEST:
        for key, value in content.items():
            if isinstance(value, Mapping):
                yield from _nested(cast(Mapping[Any, Any], value), f"{place}.{key}".lstrip("."), depth + 1)


def _objects(path: Path) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # an old format, or no pickle at all
        return ""
    return f" ({', '.join(shown(name, 80) for name in names[:3])})" if names else ""
