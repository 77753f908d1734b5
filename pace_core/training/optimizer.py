"""AdamW or SGD over what is trained."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pace_core.methods import all_decayed
from pace_core.network.parts import head_prefix
from pace_core.spec import Optimizer, Training
from pace_core.training.schedule import learning_rate


def build_optimizer(
    model: nn.Module, optimizer: Optimizer, undecayed: Callable[[str], bool] = all_decayed
) -> torch.optim.Optimizer:
    """Builds the spec's optimizer over the trainable parameters.

    `undecayed` says by name which ones take no weight decay. A group is what shares rate and decay; its `peak` is the
    rate after warm-up. Parameters keep the order of their names within a group.
    """
    head = head_prefix(model)
    grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable(model).items():
        peak = optimizer.head_lr if optimizer.head_lr and name.startswith(head) else optimizer.lr
        decay = 0.0 if undecayed(name) else optimizer.weight_decay
        grouped.setdefault((peak, decay), []).append(parameter)
    groups = [
        {"params": parameters, "lr": peak, "weight_decay": decay, "peak": peak}
        for (peak, decay), parameters in grouped.items()
    ]
    # fused: the same update in one kernel a device, several times faster on CPUs
    if optimizer.name == "sgd":
        return torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=optimizer.lr, betas=(optimizer.beta1, optimizer.beta2), fused=True)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the trained parameters, sorted by name."""
    return {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}


def set_learning_rates(optimizer: torch.optim.Optimizer, training: Training, step: int, steps_per_epoch: int) -> None:
    """Sets the rates of an optimizer step, 0-based over the whole run; each group follows the schedule to its peak."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(training, group["peak"], step, steps_per_epoch)


def clip_gradients(model: nn.Module, longest: float | None) -> None:
    """Shortens the gradient of all trained parameters together to that norm where it is longer."""
    if longest is not None:
        torch.nn.utils.clip_grad_norm_([p for p in trainable(model).values() if p.grad is not None], longest)


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Returns the optimizer's tensors as `parameter/moment`."""
    return {
        f"{name}/{moment}": value
        for name, parameter in parameters.items()
        for moment, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)  # SGD without momentum keeps an empty one
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_state` gave."""
    for key, value in state.items():
        name, moment = key.rsplit("/", 1)
        optimizer.state[parameters[name]][moment] = value.to(parameters[name].device)
