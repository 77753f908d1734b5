"""Beginning a run with an earlier adapter: adapted parts by their names, the head class by class."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pace_core.adapters import AdapterFile, load_trained, read_adapter
from pace_core.network.parts import head_name, head_prefix
from pace_core.spec import Reporter, RunError
from pace_core.spec.text import shown
from pace_core.training.optimizer import trainable

_NAMED = 5


def start_from(
    model: nn.Module, uri: str | None, class_names: Sequence[str], weights_hash: str, reporter: Reporter
) -> None:
    """Sets what an adapted model trains to what the adapter at `uri` has, in place; does nothing where that is None.

    A class that both know by its name keeps its row of the head; the rows of others stay as they begin. `weights_hash`
    is of the model's pretrained weights. Says in the log what was taken over. Raises RunError `weights_missing`, and
    `spec_invalid` where the adapter is of another method, size or pretrained network.
    """
    if uri is None:
        return
    file, origin = read_adapter(uri), f"init_from: {shown(uri, 500)}"
    if file.weights_hash != weights_hash:
        message = f"{origin} was trained on other weights of {file.spec.backbone.name} than backbone.weights names here"
        raise RunError("spec_invalid", message)
    load_trained(model, file.tensors, origin=origin, head=False)
    known = _load_head(model, file, class_names, origin)
    reporter.event("log", {"level": "info", "message": f"{origin}: {_taken(known, class_names, file)}"})
    prefix = head_prefix(model)
    if spare := sorted(name for name in file.tensors.keys() - trainable(model).keys() if not name.startswith(prefix)):
        message = f"{origin}: {len(spare)} of its tensors have no place in this method ({_some(spare)})"
        reporter.event("log", {"level": "warning", "message": message})


@torch.no_grad()
def _load_head(model: nn.Module, file: AdapterFile, class_names: Sequence[str], origin: str) -> list[str]:
    """Returns the names of the classes whose rows were taken over."""
    rows = {name: row for row, name in enumerate(file.class_names)}
    known = [(row, name) for row, name in enumerate(class_names) if name in rows]
    here = torch.tensor([row for row, _ in known], dtype=torch.long)
    there = torch.tensor([rows[name] for _, name in known], dtype=torch.long)
    logits, prefix = f"{head_name(model)}.", head_prefix(model)
    for name, parameter in trainable(model).items():
        if not name.startswith(prefix):
            continue
        given = file.tensors.get(name)
        if name.startswith(logits):  # a row a class
            _require(given, name, (len(file.class_names), *parameter.shape[1:]), origin)
            if known:
                parameter[here.to(parameter.device)] = given[there].to(parameter)
        else:
            _require(given, name, tuple(parameter.shape), origin)
            parameter.copy_(given)
    return [name for _, name in known]


def _require(given: Tensor | None, name: str, shape: tuple[int, ...], origin: str) -> None:
    if given is None or tuple(given.shape) != shape:
        has = "it has none" if given is None else f"it is {tuple(given.shape)}"
        raise RunError("spec_invalid", f"{origin} does not fit: {name} should be {shape}, and {has}")


def _taken(known: list[str], class_names: Sequence[str], file: AdapterFile) -> str:
    fresh = [name for name in class_names if name not in set(known)]
    unused = [name for name in file.class_names if name not in set(class_names)]
    said = f"{len(known)} of {len(class_names)} classes keep their row of the head, by name"
    if fresh:
        said += f"; {len(fresh)} begin afresh ({_some(fresh)})"
    if unused:
        said += f"; {len(unused)} of the adapter's are not in this data ({_some(unused)})"
    return said


def _some(names: Sequence[str]) -> str:
    return ", ".join([*(shown(name, 50) for name in names[:_NAMED]), *(["…"] if len(names) > _NAMED else [])])
