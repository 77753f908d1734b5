"""What moves the trained parameters: groups of them, clipping, and SGD."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pace_core.spec import Optimizer, Training
from pace_core.training.optimizer import build_optimizer, clip_gradients, set_learning_rates, trainable


class Small(nn.Module):
    """One scaled layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(3))
        self.body = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)


def moved(undecayed: Callable[[str], bool], **optimizer: Any) -> dict[str, float]:
    """How far an update without a gradient changes each parameter, as a share of it."""
    torch.manual_seed(0)
    model = Small()
    built = build_optimizer(model, Optimizer(**optimizer), undecayed)
    before = {name: p.detach().clone() for name, p in trainable(model).items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    built.step()
    return {name: float((1 - p.detach() / before[name]).mean()) for name, p in trainable(model).items()}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_what_a_method_names_is_not_decayed_and_all_else_is(name: str) -> None:
    shrunk = moved(lambda parameter: parameter == "gamma", name=name, lr=0.1, weight_decay=0.5)
    assert shrunk.pop("gamma") == 0
    assert all(share == pytest.approx(0.05, rel=1e-3) for share in shrunk.values()), shrunk


def test_the_head_has_a_rate_of_its_own_and_both_follow_the_schedule() -> None:
    model, training = Small(), Training(epochs=4, warmup_epochs=1, warmup_lr=0.0, min_lr=0.0)
    built = build_optimizer(model, Optimizer(lr=0.1, head_lr=0.4))
    rates: dict[str, list[float]] = {"body.weight": [], "head.weight": []}
    for step in (5, 10, 20):
        set_learning_rates(built, training, step, 10)
        for group in built.param_groups:
            for name in rates:
                if any(p is trainable(model)[name] for p in group["params"]):
                    rates[name].append(group["lr"])
    assert rates["body.weight"] == pytest.approx([0.05, 0.1 * (1 + 2**-0.5) / 2, 0.05])
    assert rates["head.weight"] == pytest.approx([4 * rate for rate in rates["body.weight"]])


def test_sgd_has_momentum_and_decay_in_the_gradient() -> None:
    model = nn.Module()
    model.head = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.head.weight, 2.0)
    built = build_optimizer(model, Optimizer(name="sgd", lr=0.1, weight_decay=0.5, momentum=0.8))
    weight, speed = 2.0, 0.0
    for gradient in (1.0, -3.0, 0.5):
        model.head.weight.grad = torch.full((1, 1), gradient)
        built.step()
        speed = 0.8 * speed + gradient + 0.5 * weight
        weight -= 0.1 * speed
    assert float(model.head.weight.detach()) == pytest.approx(weight)


def test_clipping_shortens_the_whole_gradient_and_leaves_a_short_one() -> None:
    model = Small()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    clip_gradients(model, 100.0)
    assert all(bool((p.grad == 1).all()) for p in model.parameters())
    clip_gradients(model, 0.5)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert float(gradient.norm()) == pytest.approx(0.5, rel=1e-4)
    assert len(gradient.unique()) == 1
