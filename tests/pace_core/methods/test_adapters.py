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
from tests.networks import images, stirred, tiny_vit


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
        ({}, ["blocks.0.drop_path2", "blocks.1.drop_path2", "blocks.2.drop_path2"]),
        (
            {"placement": "houlsby"},
            [
                *(f"blocks.{b}.{part}" for b in range(3) for part in ("norm1", "drop_path1", "norm2", "drop_path2")),
                "norm",
            ],
        ),
        ({"placement": "drop", "skipped": 1}, ["blocks.1.drop_path2", "blocks.2.drop_path2"]),
    ],
    ids=str,
)
def test_where_adapters_stand(params: dict[str, object], places: list[str]) -> None:
    assert list(residuals(adapted(tiny_vit(depth=3).double().eval(), adapter, **params))) == places


def test_skipping_every_block_is_refused() -> None:
    with pytest.raises(RunError, match=r"method\.skipped: of 2 blocks 5 cannot be skipped; use at most 1"):
        adapted(tiny_vit().double().eval(), adapter, placement="drop")


def quick_gelu(t: Tensor) -> Tensor:
    return t * torch.sigmoid(1.702 * t)


@pytest.mark.parametrize(("placement", "activation"), [("mlp", quick_gelu), ("houlsby", F.gelu)])
def test_an_adapter_reads_and_adds_to_the_output_of_its_branch(placement: str, activation) -> None:
    """Equal to an untouched network with adapters put in by hooks and changed norms."""
    ours, plain = adapted(tiny_vit().double().eval(), adapter, placement=placement), tiny_vit().double().eval()
    plain.head.load_state_dict(stirred(ours).head.state_dict())
    for name, part in residuals(ours).items():
        peer = plain.get_submodule(name)
        if isinstance(peer, nn.LayerNorm):
            peer.weight.data += part.weight.detach()
            peer.bias.data += part.bias.detach()
        else:
            peer.register_forward_hook(lambda _op, _args, u, part=part.adapter: u + small_network(part, u, activation))
    torch.testing.assert_close(ours(images()), plain(images()), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("placement", "std"), [("mlp", 0.02), ("houlsby", 0.001)])
def test_adapters_start_as_the_authors_of_their_row_start_them(placement: str, std: float) -> None:
    model = tiny_vit(embed_dim=192)
    adapter.adapt(model, adapter.Params(placement=placement), torch.Generator().manual_seed(0))
    for part in model.modules():
        if isinstance(part, Bottleneck):
            for weight in (part.W1, part.W2):
                assert float(weight.detach().std()) == pytest.approx(std, rel=0.1)
            assert part.b1.abs().max() == part.b2.abs().max() == 0


@pytest.mark.parametrize("module", [adapter, adaptformer])
def test_what_an_adapter_adds_is_not_dropped_with_its_branch(module) -> None:
    model = tiny_vit(drop_path_rate=1 - 1e-9)
    module.adapt(model, module.Params(dropout=0.0), torch.Generator().manual_seed(0))
    part = next(p for name, p in residuals(stirred(model.double())).items() if name.startswith("blocks.1."))
    x = images(3).flatten(1)[:, : 3 * 24].reshape(3, 3, 24)
    found = part.train()(x)
    assert found.abs().min() > 0
    expected = part.scale * part.adapter(x) if module is adaptformer else part.adapter(torch.zeros_like(x))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


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
