"""Adapters that follow a layer, and AdaptFormer's beside the MLP."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pace_core.methods import adapter, adaptformer
from pace_core.methods._bottleneck import Bottleneck
from pace_core.network.residual import residuals
from pace_core.spec import RunError
from tests.networks import images, tiny_vit


def adapted(model: nn.Module, module, **params: object) -> nn.Module:
    module.adapt(model, module.Params(**params), torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(3)
    for part in model.modules():
        if isinstance(part, Bottleneck):
            for parameter in part.parameters():
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.double().eval()


def small_network(part: Bottleneck, x: Tensor, activation) -> Tensor:
    return activation(x @ part.W1.T + part.b1) @ part.W2.T + part.b2


@pytest.mark.parametrize(
    ("params", "places"),
    [
        ({}, ["blocks.0.mlp.fc2", "blocks.1.mlp.fc2", "blocks.2.mlp.fc2"]),
        (
            {"placement": "houlsby"},
            [f"blocks.{block}.{layer}" for block in range(3) for layer in ("attn.proj", "mlp.fc2")],
        ),
        ({"placement": "drop", "skipped": 1}, ["blocks.1.mlp.fc2", "blocks.2.mlp.fc2"]),
    ],
    ids=str,
)
def test_where_adapters_stand(params: dict[str, object], places: list[str]) -> None:
    assert list(residuals(adapted(tiny_vit(depth=3).double().eval(), adapter, **params))) == places


def test_skipping_every_block_is_refused() -> None:
    with pytest.raises(RunError, match=r"method\.skipped: of 2 blocks 5 cannot be skipped; use at most 1"):
        adapted(tiny_vit().double().eval(), adapter, placement="drop")


def test_an_adapter_reads_and_adds_to_the_output_of_its_layer() -> None:
    """Equal to an untouched network with the adapter put in by hooks."""
    ours, plain = adapted(tiny_vit().double().eval(), adapter, placement="houlsby"), tiny_vit().double().eval()
    plain.head.load_state_dict(ours.head.state_dict())
    for name, layer in residuals(ours).items():
        plain.get_submodule(name).register_forward_hook(
            lambda _op, _args, u, part=layer.adapter: u + small_network(part, u, F.gelu)
        )
    torch.testing.assert_close(ours(images()), plain(images()), rtol=0, atol=1e-10)


def test_adaptformer_reads_what_the_norm_before_the_mlp_reads() -> None:
    """x + MLP(norm(x)) + scale · adapter(x), block by block by hand."""
    ours, plain = adapted(tiny_vit().double().eval(), adaptformer, width=5, scale=0.7), tiny_vit().double().eval()
    x = plain._pos_embed(plain.patch_embed(images()))
    for block, adapted_block in zip(plain.blocks, ours.blocks, strict=True):
        x = x + block.attn(block.norm1(x))
        beside = small_network(adapted_block.mlp.adapter, x, F.relu)
        x = x + block.mlp(block.norm2(x)) + 0.7 * beside
    torch.testing.assert_close(ours.forward_features(images()), plain.norm(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("module", [adapter, adaptformer])
def test_at_the_start_the_way_up_has_a_gradient(module) -> None:
    """A start of zeros throughout would train the last bias alone."""
    model = tiny_vit().double().eval()
    module.adapt(model, module.Params(), torch.Generator().manual_seed(0))
    model.double().eval()(images()).square().sum().backward()
    for part in model.modules():
        if isinstance(part, Bottleneck):
            assert part.W2.grad.abs().max() > 0


def test_adaptformer_refuses_blocks_whose_norm_follows_the_mlp() -> None:
    with torch.device("meta"):
        swin = timm.create_model("swinv2_tiny_window8_256", num_classes=5)
    with pytest.raises(RunError, match="needs blocks with a norm before the MLP"):
        adaptformer.adapt(swin, adaptformer.Params(), torch.Generator())
