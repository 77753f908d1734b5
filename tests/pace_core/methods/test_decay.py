"""What weight decay does to the methods that store scales: it never pulls them away from the pretrained network."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pace_core import methods
from pace_core.network.pretrained import pretrained_weights
from pace_core.spec import validate
from pace_core.stage import optimizer_of
from pace_core.training.optimizer import build_optimizer, trainable
from tests.networks import images, tiny_swin, tiny_vit

CLEVR_DISTANCE = {"lr": 5e-2, "weight_decay": 5e-2}  # SSF's published setting, of 100 epochs of 15 steps


def start(method: str, build: Callable[[], nn.Module] = tiny_vit) -> nn.Module:
    model, found = build(), methods.find(method)
    found.adapt(model, found.params(), torch.Generator().manual_seed(0))
    return model.double().eval()


def decayed(method: str, build: Callable[[], nn.Module] = tiny_vit, everything: bool = False) -> nn.Module:
    """The adapted network after 1500 updates in which the loss asks for nothing."""
    model = start(method, build)
    spec = validate({"task": {"name": "vtab-mini/digits"}, "method": {"name": method}, "optimizer": CLEVR_DISTANCE})
    built = build_optimizer(model, spec.optimizer) if everything else optimizer_of(spec, model)
    for parameter in trainable(model).values():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(1500):
        built.step()
    return model


def moved(model: nn.Module, begun: nn.Module) -> set[str]:
    return {name for name, p in trainable(model).items() if not torch.equal(p, begun.get_parameter(name))}


@pytest.mark.parametrize(("build", "head"), [(tiny_vit, "head.weight"), (tiny_swin, "head.fc.weight")])
def test_decay_alone_leaves_ssf_where_it_was(build: Callable[[], nn.Module], head: str) -> None:
    assert moved(decayed("ssf", build), start("ssf", build)) == {head}


def test_decay_of_everything_would_pull_ssf_to_the_pretrained_network() -> None:
    """What is stored is gamma - 1; gamma itself would end at 0.02 of what it was."""
    model = decayed("ssf", everything=True)
    with torch.no_grad():
        found = model.forward_features(images())
        with pretrained_weights(model):
            expected = model.forward_features(images())
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_rlrr_decays_its_two_factors_the_patch_embedding_and_the_heads_weight_alone() -> None:
    model, begun = decayed("rlrr"), start("rlrr")
    factors = {name for name in trainable(model) if name.endswith((".left", ".right"))}
    assert moved(model, begun) == factors | {"patch_embed.proj.scale", "patch_embed.proj.shift", "head.weight"}
    assert all(model.get_parameter(name).norm() < begun.get_parameter(name).norm() for name in moved(model, begun))
