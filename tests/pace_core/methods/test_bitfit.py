"""BitFit: biases alone are trained, as changes that can be seen apart."""

import torch
from torch import nn

from pace_core.methods import bitfit
from pace_core.network.residual import residuals
from tests.networks import tiny_swin, tiny_vit


def test_it_is_the_network_with_other_biases() -> None:
    ours, plain = tiny_vit().double().eval(), tiny_vit().double().eval()
    bitfit.adapt(ours, bitfit.Params(), torch.Generator().manual_seed(0))
    ours.double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        plain.head.load_state_dict(ours.head.state_dict())
        for name, layer in residuals(ours).items():
            layer.shift.normal_(generator=rng)
            plain.get_submodule(name).bias += layer.shift
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(ours(images), plain(images), rtol=0, atol=1e-10)


def test_every_bias_of_the_network_has_a_change() -> None:
    model = tiny_vit().double().eval()
    biases = {name.removesuffix(".bias") for name, _ in model.named_parameters() if name.endswith(".bias")}
    bitfit.adapt(model, bitfit.Params(), torch.Generator().manual_seed(0))
    assert set(residuals(model)) == biases - {"head"}


def test_a_layer_without_a_bias_gets_none() -> None:
    swin = tiny_swin()
    assert isinstance(swin.get_submodule("layers.1.downsample.reduction"), nn.Linear)
    bitfit.adapt(swin, bitfit.Params(), torch.Generator().manual_seed(0))
    assert "layers.1.downsample.norm" in residuals(swin)
    assert "layers.1.downsample.reduction" not in residuals(swin)
