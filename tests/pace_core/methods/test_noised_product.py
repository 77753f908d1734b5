"""One product with a weight for each sample is the same as two products and their noise."""

import pytest
import torch
from torch import Tensor, nn

from pace_core.methods.lora_mul_vpt_add import Params, adapt
from pace_core.network.layer_noise import LayerNoise
from pace_core.network.residual import ResidualLinear
from pace_core.noise import Pass, SeededSource


class Block(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(6, 9, bias=bias)


def layer(bias: bool, **params: object) -> ResidualLinear:
    torch.manual_seed(0)
    model = nn.Module()
    model.blocks = nn.Sequential(Block(bias))
    model.head = nn.Linear(9, 2)
    adapt(model, Params(rank=2, **params), torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    model.double()
    made = model.get_submodule("blocks.0.attn.qkv")
    assert isinstance(made, ResidualLinear)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    made.layer_noise = LayerNoise(made.name, 0.8, Pass(SeededSource(0)))
    return made


def outcome(made: ResidualLinear, form: str) -> tuple[Tensor, ...]:
    x = torch.randn(4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with made.layer_noise.current.noised(3, 2, 2, slice(0, 2)):  # type: ignore[union-attr]
        y = made(x) if form == "one product" else ResidualLinear.noised(made, x)
    trained = [parameter for parameter in made.parameters() if parameter.requires_grad]
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
    return (y, *torch.autograd.grad((y * weights).sum(), [x, *trained]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("targets", ["all", "q,v"])
def test_output_and_gradients_agree(bias: bool, targets: str) -> None:
    made = layer(bias, targets=targets)
    for ours, expected in zip(outcome(made, "one product"), outcome(made, "two products"), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
