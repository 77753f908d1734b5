"""SSF: a scale and a shift behind every operation."""

import copy

import torch
from torch import nn

from pace_core.methods import ssf
from pace_core.network.residual import residuals
from tests.networks import images, tiny_swin, tiny_vit


def adapted(model: nn.Module) -> nn.Module:
    ssf.adapt(model, ssf.Params(), torch.Generator().manual_seed(0))
    return model.double().eval()


def test_the_patch_embedding_and_every_norm_and_linear_layer_have_one() -> None:
    in_block = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    expected = {"patch_embed.proj", "norm"} | {f"blocks.{i}.{op}" for i in range(2) for op in in_block}
    assert set(residuals(adapted(tiny_vit().double().eval()))) == expected


def test_a_swins_patch_merging_has_them_too() -> None:
    swin = tiny_swin()
    names = set(residuals(adapted(swin)))
    assert {"patch_embed.proj", "patch_embed.norm", "layers.1.downsample.norm", "layers.1.downsample.reduction"} < names


def test_it_computes_the_pretrained_network_with_scaled_and_shifted_outputs() -> None:
    """gamma ⊙ u + beta, put into an untouched network by hooks."""
    model = tiny_vit().double().eval()
    ours, plain = adapted(copy.deepcopy(model)), model
    assert isinstance(plain.head, nn.Linear)
    plain.head.load_state_dict(ours.head.state_dict())
    for name, layer in residuals(ours).items():
        gamma, beta = (
            value.view(-1, 1, 1) if name == "patch_embed.proj" else value for value in (1 + layer.scale, layer.shift)
        )
        plain.get_submodule(name).register_forward_hook(lambda _op, _args, u, gamma=gamma, beta=beta: gamma * u + beta)
    torch.testing.assert_close(ours(images()), plain(images()), rtol=0, atol=1e-10)


def test_scales_as_stored_and_shifts_start_around_zero() -> None:
    layers = residuals(adapted(tiny_vit().double().eval())).values()
    for kind in ("scale", "shift"):
        values = torch.cat([getattr(layer, kind).detach() for layer in layers])
        assert abs(float(values.mean())) < 0.003
        assert abs(float(values.std()) - 0.02) < 0.003
