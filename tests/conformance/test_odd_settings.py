"""Every method trains all of itself on every kind of network, in either precision, or is refused with the reason.

A refusal names the field to change. Networks are timm's, tiny, with what is odd about them: attention that reads its
weights itself, parallel branches, attention pooling, prefix tokens, scaled branches, odd widths.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from pace_core import methods, regularizers
from pace_core.adapters import adapt_model
from pace_core.backbones import vision
from pace_core.network.parts import block_linears, network_family
from pace_core.network.residual import residuals
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext
from pace_core.spec import Backbone, RunError, RunSpec
from pace_core.training.optimizer import trainable
from tests.networks import images, stirred, tiny_timm

METHODS, REGULARIZERS = methods.entries(), regularizers.entries()
SWIN_V2, PARALLEL, FUSED = "swinv2_tiny_window8_256", "vit_base_patch16_18x2_224", "vit_base_patch16_xp_224"
POOLED, SCALED = "vit_so150m_patch16_reg4_map_256", "deit3_small_patch16_224"
USUAL = ("vit_base_patch16_224", "swin_tiny_patch4_window7_224", "deit_tiny_patch16_224")
ODD = (SWIN_V2, PARALLEL, FUSED, POOLED, SCALED)
PRECISIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "float32": nullcontext,
    "bfloat16": partial(torch.autocast, "cpu", torch.bfloat16),
}
SIZE = 4  # half of them is more than one, which drop path alone would leave without a gradient


def fitting(networks: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs of a network and a method for its family."""
    families = {network: "swin" if network.startswith("swin") else "vit" for network in networks}
    return [(network, name) for network in networks for name in METHODS if families[network] in METHODS[name].fits]


@pytest.mark.parametrize(("network", "method"), fitting(ODD))
def test_a_method_trains_all_of_itself_or_is_refused(network: str, method: str) -> None:
    regularizer = "pace" if "delta" in METHODS[method].gives else "none"
    trains_or_is_refused(network, method, regularizer, "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(("network", "method"), fitting((*USUAL, *ODD)))
def test_every_combination_trains_or_is_refused(network: str, method: str) -> None:
    regularized = [name for name, declared in REGULARIZERS.items() if declared.needs <= METHODS[method].gives]
    ranks = (1, 3) if "rank" in METHODS[method].params.model_fields else (1,)
    for regularizer, precision, rank in product(regularized, PRECISIONS, ranks):
        trains_or_is_refused(network, method, regularizer, precision, rank=rank)


@pytest.mark.slow
@pytest.mark.parametrize("network", [*USUAL, *ODD])
def test_every_tuner_of_peft_trains_or_is_refused(network: str) -> None:
    for name in methods.peft_tuners():
        trains_or_is_refused(network, name, "pace", "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["vision_transformer", "deit", "swin_transformer", "swin_transformer_v2"])
def test_on_every_network_of_timm_all_layers_are_called(module: str) -> None:
    """The next version of timm may have blocks that no kind above stands for."""
    for name in timm.list_models(module=module):
        if "distilled" not in name:
            trains_or_is_refused(name, "lora_add", "pace", "float32")


def trains_or_is_refused(network: str, method: str, regularizer: str, precision: str, **params: Any) -> None:
    model = tiny_timm(network, drop_path_rate=0.1)
    try:
        adapt_model(model, spec_of(network, method, **params), torch.Generator().manual_seed(0))
    except RunError as refused:
        if not re.match(r"(method|backbone)[.\w]*: ", refused.message):
            raise
        return
    stirred(model.train())
    context = StepContext(model, Pass(SeededSource(7)), None, PRECISIONS[precision], train_samples=20, num_classes=5)
    declared = REGULARIZERS[regularizer]
    regularized = declared.make(declared.params(), context)
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-3)
    side = 32 if network_family(model) == "swin" else 16
    done = regularized.step(Batch(images(SIZE, side).float(), torch.arange(SIZE), torch.arange(SIZE)), 0)
    assert all(term.isfinite() for term in done.terms.values())
    for name, parameter in trainable(model).items():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), f"the gradient of {name} is zero"
    optimizer.step()
    regularized.after_update()
    assert all(parameter.isfinite().all() for parameter in trainable(model).values())


def spec_of(network: str, method: str, **params: Any) -> RunSpec:
    known = METHODS[method].params.model_fields if method in METHODS else {}
    asked = {key: value for key, value in {"rank": 3, **params}.items() if key in known}
    task = {"name": "mine", "source": "image_folder", "path": "/data"}
    return RunSpec.model_validate({"task": task, "backbone": {"name": network}, "method": {"name": method, **asked}})


def refusal(network: str, method: str, **params: Any) -> str:
    with pytest.raises(RunError) as refused:
        adapt_model(tiny_timm(network), spec_of(network, method, **params), torch.Generator())
    return refused.value.message


def test_a_method_that_finds_no_layer_is_refused_instead_of_training_the_classifier_alone() -> None:
    for method, params in {"lora_add": {"targets": "qkv"}, "arc": {}, "repadapter": {}, "vera": {}, "fact": {}}.items():
        assert refusal(FUSED, method, **params) == (
            "method: it has no layer to adapt in blocks such as ParallelScalingBlock, whose layers are in_proj, "
            "attn_out_proj, mlp_out_proj; use lora_add with targets: all"
        )


def test_blocks_of_one_channel_rotate_nothing_and_are_refused() -> None:
    assert refusal(POOLED, "coft", blocks=40).startswith("method.blocks: 40 leaves blocks of one channel in blocks.0.")
    assert refusal(POOLED, "coft", block_size=2).startswith("method.block_size: 2 leaves blocks of one channel")


def test_a_rank_above_the_width_of_a_network_that_is_in_no_catalogue_is_refused() -> None:
    assert refusal(SCALED, "lora_add", rank=25) == (
        "method.rank: 25 is wider than blocks.0.attn.qkv (24); use at most 24"
    )
    adapt_model(tiny_timm(SCALED), spec_of(SCALED, "vera", rank=25), torch.Generator())  # VeRA's may be


def test_noah_is_refused_where_a_block_has_no_such_places() -> None:
    assert "method.name: noah cannot adapt blocks such as ParallelThingsBlock" in refusal(PARALLEL, "noah")


def test_a_swin_v2_calls_its_qkv_and_its_position_bias_is_left_alone() -> None:
    model = tiny_timm(SWIN_V2)
    assert [name for name in block_linears(model) if "cpb" in name] == []
    adapt_model(model, spec_of(SWIN_V2, "ssf"), torch.Generator().manual_seed(0))
    called = {name: 0 for name in residuals(model)}

    def count(layer: nn.Module, _args: Any, _output: Any) -> None:
        called[layer.name] += 1

    for layer in residuals(model).values():
        layer.register_forward_hook(count)
    model.eval()(images(2, 32).float())
    assert called
    assert all(called.values()), called


@pytest.mark.parametrize("weights", ["none", "file"])
def test_a_swin_v2_computes_what_timm_computes(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 4)}
    theirs = timm.create_model(SWIN_V2, num_classes=0, **small)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
    monkeypatch.setattr(vision, "build", lambda name, *_: timm.create_model(name, num_classes=0, **small))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    chosen = "none" if weights == "none" else str(tmp_path / "weights.pth")
    ours = vision.load(Backbone(name=SWIN_V2, weights=chosen), num_classes=0, drop_path=0.0).model.eval()
    inputs = images(2, 32).float()
    if weights == "file":
        torch.testing.assert_close(ours(inputs), theirs.eval()(inputs), rtol=0, atol=0)
    assert ours.layers[0].blocks[0].attn.q_bias is None
