"""Our regularizers on a model that its user made with HF `peft`, in the user's own training loop.

    model = get_peft_model(network, LoraConfig(target_modules=["qkv"], modules_to_save=["head"]))
    pace = regularize(model, optimizer, {"name": "pace", "sigma": 0.5, "lambda": 0.1})
    for images, labels in loader:
        pace.step(images, labels)  # the passes, the loss and its gradient
        optimizer.step()
        optimizer.zero_grad()

What `peft` saves, loads and merges stays as it is. For HF `Trainer` see `pace_core.peft_trainer`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from pace_core import regularizers
from pace_core.network.parts import HEADS
from pace_core.network.peft_layers import follow_head, follow_layers
from pace_core.network.toggled import Toggled
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, Regularizer, StepContext
from pace_core.spec import Fault, RunError, SpecError, load_catalogue
from pace_core.spec.checks import check_parameters
from pace_core.spec.suggest import did_you_mean


class Regularized:
    """A regularizer and the number of the step that it is at."""

    def __init__(self, regularizer: Regularizer, followed: "Followed", current: Pass, indexed: bool) -> None:
        self._regularizer, self._followed, self._current = regularizer, followed, current
        self._indexed, self._step = indexed, 0

    def step(self, images: Tensor, labels: Tensor, index: Tensor | None = None) -> dict[str, float]:
        """Adds the gradient of this batch's loss to the parameters' and returns the terms of the loss by name.

        images (batch, …) as the model takes them, labels (batch,) class numbers. index (batch,): the samples' places in
        the training set, which `pace_fast` alone asks for.

        Raises RunError `spec_invalid` for other labels, for a missing index, and for adapters that are merged, disabled
        or no longer those of the call of `regularize`.
        """
        if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool or bool((labels < 0).any()):
            seen = f"{tuple(labels.shape)} of {labels.dtype}, down to {labels.min().item() if labels.numel() else None}"
            message = f"labels: they are {seen}; cross-entropy needs one class number from 0 for each image"
            raise RunError("spec_invalid", message)
        if self._indexed and index is None:
            message = (
                "index: pace_fast compares with the logits of the epoch before; give each image's place in the set"
            )
            raise RunError("spec_invalid", message)
        batch = Batch(images, labels, torch.zeros_like(labels) if index is None else index)
        self._followed.put_on()
        try:
            terms = self._regularizer.step(batch, self._step).terms
        finally:
            self._current.end()
            self._followed.take_off()
        self._step += 1
        return {name: float(value) for name, value in terms.items()}


_after_updates: WeakKeyDictionary[nn.Module, RemovableHandle] = WeakKeyDictionary()


def regularize(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    regularizer: Mapping[str, Any],
    *,
    seed: int = 0,
    train_samples: int = 0,
    num_classes: int = 0,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Regularized:
    """Returns a regularizer by its name and parameters, as in a spec, on a `peft` model of a vision transformer.

    Called once, before training, when the model is on its device; called again it begins anew. Outside the steps the
    model is as it was. seed: of the noise. train_samples, num_classes: the sizes of the table that `pace_fast` keeps.
    autocast: the context of every forward pass, such as `lambda: torch.autocast("cuda", torch.bfloat16)`.

    Raises SpecError for a name or parameter that is not known, RunError `spec_invalid` as `Followed`.
    """
    name, params = _checked(regularizer)
    if name == "pace_fast" and not (train_samples and num_classes):
        message = "pace_fast keeps a table of logits; give train_samples and num_classes, and an index to every step"
        raise SpecError([Fault(pointer="/regularizer/name", code="conflict", message=message)])
    declared, current = regularizers.find(name), _Lasting(SeededSource(seed))
    made: list[Regularizer] = []

    def attach(network: nn.Module) -> None:
        context = StepContext(network, current, None, autocast, train_samples, num_classes)
        made.append(declared.make(declared.params.model_validate(params), context))

    followed = Followed(model, attach)
    if (earlier := _after_updates.get(followed.network)) is not None:
        earlier.remove()
    _after_updates[followed.network] = optimizer.register_step_post_hook(lambda *_: made[0].after_update())
    return Regularized(made[0], followed, current, indexed=name == "pace_fast")


class Followed(Toggled):
    """A user's `peft` model whose layers and classifier take noise, and what else `change` does, for a step at a time.

    Raises RunError `spec_invalid` for a model without layers of `peft`, for one whose classifier is not trained, and
    for one that is compiled or wrapped.
    """

    def __init__(self, model: nn.Module, change: Callable[[nn.Module], None], around: Iterable[nn.Module] = ()) -> None:
        """change: is given the network inside `peft`'s model, which by then takes noise."""
        _refuse_wrapped(model)
        self.network: nn.Module = model.get_base_model() if isinstance(model, PeftModel) else model
        self._layers: list[BaseTunerLayer] = []

        def follow() -> None:
            self._layers = follow_layers(self.network)
            _follow_classifier(self.network, self._layers)
            change(self.network)

        super().__init__(self.network, follow, around)

    def put_on(self) -> None:
        """Raises RunError `spec_invalid` too where the adapters add nothing, or are others than at the start."""
        _refuse_compiled(self.network)
        layers = [module for module in self.network.modules() if isinstance(module, BaseTunerLayer)]
        if len(layers) != len(self._layers) or any(a is not b for a, b in zip(layers, self._layers, strict=True)):
            message = "its adapters are not those that PACE was attached to; call `regularize` (or `train`) again"
        elif any(layer.merged for layer in layers):
            message = "its adapters are merged, so there is no change to put noise on; call unmerge_adapter() before"
        elif any(layer.disable_adapters for layer in layers):
            message = "its adapters are disabled, so there is no change to put noise on; enable them before a step"
        else:
            return super().put_on()
        raise RunError("spec_invalid", f"model: {message}")


class _Lasting(Pass):
    """A pass that lasts to the step's end, since gradient checkpointing computes layers anew in the backward pass."""

    @contextmanager
    def noised(self, step: int, batch: int, perturbations: int, samples: slice) -> Iterator[None]:
        with super().noised(step, batch, perturbations, samples):
            yield
        self.again()


def _follow_classifier(network: nn.Module, layers: list[BaseTunerLayer]) -> None:
    if not layers:
        message = "peft has put no layers into it; use a tuner that adapts layers, such as LoRA, not one of prompts"
        raise RunError("spec_invalid", f"model: {message}")
    modules = dict(network.named_modules())
    for name in HEADS:
        head = modules.get(name)
        if head is not None and any(parameter.requires_grad for parameter in head.parameters()):
            return follow_head(head, name)
    message = "its classifier is not trained; name it in the configuration, such as modules_to_save=['head']"
    raise RunError("spec_invalid", f"model: {message}")


def _refuse_wrapped(model: nn.Module) -> None:
    if isinstance(model, DataParallel | DistributedDataParallel):
        kind = type(model).__name__
        message = f"it is wrapped in {kind}, past which a step would go; give the model inside, on one device"
        raise RunError("spec_invalid", f"model: {message}")
    _refuse_compiled(model)


def _refuse_compiled(model: nn.Module) -> None:
    """A compiled module has the forward without noise, and may keep using it."""
    if hasattr(model, "_orig_mod") or any(vars(module).get("_compiled_call_impl") for module in model.modules()):
        message = (
            "it is compiled, and what is compiled knows of no noise; leave torch.compile out of training with PACE"
        )
        raise RunError("spec_invalid", f"model: {message}")


def _checked(regularizer: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    known, faults = load_catalogue().regularizers, list[Fault]()
    params = dict(regularizer)
    name = str(params.pop("name", ""))
    if name not in known:
        message = f"there is no regularizer {name!r}{did_you_mean(name, known)}"
        raise SpecError([Fault(pointer="/regularizer/name", code="unknown_name", message=message)])
    params = check_parameters("/regularizer", params, known[name], faults)
    if faults:
        raise SpecError(faults)
    return name, params
