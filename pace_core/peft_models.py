"""Our regularizers on a model that its user made with HF `peft`, in the user's own training loop.

    model = get_peft_model(network, LoraConfig(target_modules=["qkv"], modules_to_save=["head"]))
    pace = regularize(model, optimizer, {"name": "pace", "sigma": 0.5, "lambda": 0.1})
    for images, labels in loader:
        pace.step(images, labels)  # the passes, the loss and its gradient
        optimizer.step()
        optimizer.zero_grad()

What `peft` saves, loads and merges stays as it is. For HF `Trainer` see `pace_core.peft_trainer`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from pace_core import registry, regularizers
from pace_core.network.parts import HEADS
from pace_core.network.peft_layers import follow_head, follow_layers
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, Regularizer, Setting
from pace_core.spec import Fault, RunError, SpecError, load_catalogue
from pace_core.spec.checks import check_parameters
from pace_core.spec.suggest import did_you_mean


class Regularized:
    """A regularizer and the number of the step that it is at."""

    def __init__(self, regularizer: Regularizer) -> None:
        self._regularizer, self._step = regularizer, 0

    def step(self, images: Tensor, labels: Tensor, index: Tensor | None = None) -> dict[str, float]:
        """Adds the gradient of this batch's loss to the parameters'; the terms of the loss by name.

        images (batch, …) as the model takes them, labels (batch,). index (batch,): the samples' places in the training
        set, which `pace_fast` alone asks for.
        """
        batch = Batch(images, labels, torch.zeros_like(labels) if index is None else index)
        terms = self._regularizer.step(batch, self._step).terms
        self._step += 1
        return {name: float(value) for name, value in terms.items()}


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
    """A regularizer by its name and parameters, as in a spec, on a `peft` model of a timm ViT or Swin.

    Made once, before training, when the model is on its device. seed: of the noise. train_samples, num_classes: the
    sizes of the table that `pace_fast` keeps. autocast: the context of every forward pass, such as
    `lambda: torch.autocast("cuda", torch.bfloat16)`.

    Raises SpecError for a name or parameter that is not known, RunError `spec_invalid` as `follow`.
    """
    name, params = _checked(regularizer)
    if name == "pace_fast" and not (train_samples and num_classes):
        message = "pace_fast keeps a table of logits; give train_samples and num_classes, and an index to every step"
        raise SpecError([Fault(pointer="/regularizer/name", code="conflict", message=message)])
    setting = Setting(
        model=follow(model),
        current=Pass(SeededSource(seed)),
        micro_batch=None,
        autocast=autocast,
        train_samples=train_samples,
        num_classes=num_classes,
    )
    module = registry.load(regularizers)[name]
    made: Regularizer = module.Regularizer(module.Params.model_validate(params), setting)
    optimizer.register_step_post_hook(lambda *_: made.after_update())
    return Regularized(made)


def follow(model: nn.Module) -> nn.Module:
    """Makes the layers of `peft` and the classifier able to take noise, in place; the network inside `peft`'s model.

    Raises RunError `spec_invalid` for a model without such layers, and for one whose classifier is not trained.
    """
    network: nn.Module = model.get_base_model() if isinstance(model, PeftModel) else model
    if not follow_layers(network):
        message = "peft has put no layers into it; use a tuner that adapts layers, such as LoRA, not one of prompts"
        raise RunError("spec_invalid", f"model: {message}")
    modules = dict(network.named_modules())
    for name in HEADS:
        head = modules.get(name)
        if head is not None and any(parameter.requires_grad for parameter in head.parameters()):
            follow_head(head, name)
            return network
    message = "its classifier is not trained; name it in the configuration, such as modules_to_save=['head']"
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
