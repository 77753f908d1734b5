"""The scale and shift that SSF and RLRR put behind an operation."""

import pytest
import torch
from torch import nn

from pace_core.methods._scale_shift import ScaleShift

OPERATIONS = {
    "norm": (nn.LayerNorm(6), (2, 3, 6)),
    "norm without bias": (nn.LayerNorm(6, bias=False), (2, 3, 6)),
    "convolution": (nn.Conv2d(3, 5, 2, 2), (2, 3, 4, 4)),
    "convolution without bias": (nn.Conv2d(3, 5, 2, 2, bias=False), (2, 3, 4, 4)),
}


@pytest.mark.parametrize("which", OPERATIONS)
def test_scale_and_shift_fold_into_the_operation(which: str) -> None:
    op, shape = OPERATIONS[which]
    layer = ScaleShift(op, "op", torch.Generator().manual_seed(0)).double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    by_channel = (-1, 1, 1) if isinstance(op, nn.Conv2d) else (-1,)
    expected = (1 + layer.scale.view(by_channel)) * op(x) + layer.shift.view(by_channel)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.plain_module()(x), expected, rtol=0, atol=1e-10)


def test_the_parts_are_the_operation_and_what_is_added_to_it() -> None:
    op = nn.LayerNorm(6)
    layer = ScaleShift(op, "op", torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    base, delta = layer.parts(x)
    torch.testing.assert_close(base, op(x))
    torch.testing.assert_close(base + delta, (1 + layer.scale) * op(x) + layer.shift)
    layer.pretrained = True
    torch.testing.assert_close(layer(x), op(x))
