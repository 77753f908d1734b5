"""AdamW over what is trained."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pace_core.spec import Optimizer


def build_optimizer(model: nn.Module, optimizer: Optimizer) -> torch.optim.AdamW:
    """AdamW over the trainable parameters in the order of their names; the decay takes all of them, as PACE's code."""
    trained = [parameter for _, parameter in trainable(model).items()]
    return torch.optim.AdamW(
        trained,
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        betas=(optimizer.beta1, optimizer.beta2),
        fused=True,  # the same update in one kernel a device, several times faster on CPUs
    )


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by name, sorted."""
    return {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_state(optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's tensors as `parameter/moment`."""
    return {
        f"{name}/{moment}": value
        for name, parameter in parameters.items()
        for moment, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(
    optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_state` gave."""
    for key, value in state.items():
        name, moment = key.rsplit("/", 1)
        optimizer.state[parameters[name]][moment] = value.to(parameters[name].device)
