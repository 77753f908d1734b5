"""The noised product on a GPU, by Triton: the weight of each sample is formed where it is multiplied, never stored."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pace_core.network.lowered import transposed

_CHANNELS, _DEPTH, _TOKENS = 128, 64, 256  # a tile; the best of ten on an H200
_WARPS, _STAGES = 8, 3


def fits(x: Tensor, out: int) -> bool:
    """Tells whether the kernels can be used for x [rows, tokens, in] and a weight (out, in)."""
    return x.dtype == torch.bfloat16 and x.shape[-1] % _DEPTH == 0 and out % _DEPTH == 0


def product(x: Tensor, weight: Tensor, delta: Tensor, z: Tensor, bias: Tensor) -> Tensor:
    """Returns x [rows, tokens, in] times (W0 + diag(z) dW)^T, plus a bias [rows, out]: [rows, tokens, out]."""
    y = x.new_empty(*x.shape[:2], len(weight))
    _launch(x, weight, delta, z, bias, y, by_depth=False)
    return y


def product_back(grad: Tensor, weight: Tensor, delta: Tensor, z: Tensor) -> Tensor:
    """Returns grad [rows, tokens, out] times (W0 + diag(z) dW): [rows, tokens, in]."""
    y = grad.new_empty(*grad.shape[:2], weight.shape[1])
    # read along its rows a weight is loaded so much faster that its transposing pays
    _launch(grad, transposed(weight), delta.t().contiguous(), z, z, y, by_depth=True)
    return y


def scaled_and_summed(grad: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z ⊙ grad [rows, tokens, out] and grad's sum over tokens, float32 [rows, out], in one reading."""
    rows, tokens, out = grad.shape
    scaled, total = torch.empty_like(grad), torch.empty(rows, out, dtype=torch.float32, device=grad.device)
    _scale_and_sum[(rows, triton.cdiv(out, 64))](grad, z, scaled, total, tokens, out, 64, 64, num_warps=4)
    return scaled, total


def _launch(x: Tensor, weight: Tensor, delta: Tensor, z: Tensor, bias: Tensor, y: Tensor, *, by_depth: bool) -> None:
    rows, tokens, depth = x.shape
    out = len(weight)
    tile = max(16, min(_TOKENS, triton.next_power_of_2(tokens)))
    grid: Any = (rows * triton.cdiv(out, _CHANNELS), triton.cdiv(tokens, tile))
    _product[grid](
        x, weight, delta, z, bias, y, tokens, out, depth, by_depth, _CHANNELS, _DEPTH, tile,
        num_warps=_WARPS, num_stages=_STAGES,
    )  # fmt: skip


@triton.jit
def _product(
    x, weight, delta, z, bias, y, tokens, out, depth,
    BY_DEPTH: tl.constexpr, CHANNELS: tl.constexpr, DEPTH: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """One tile [channels, tokens] of one row; z scales the weight's change by channel, or by the depth summed over."""
    tiles = tl.cdiv(out, CHANNELS)
    row = (tl.program_id(0) // tiles).to(tl.int64)
    channel = (tl.program_id(0) % tiles) * CHANNELS + tl.arange(0, CHANNELS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    inside, there = channel < out, token < tokens
    step = tl.arange(0, DEPTH)
    x += row * tokens * depth
    y += row * tokens * out
    at = channel[:, None] * depth + step[None, :]
    from_x = token[None, :] * depth + step[:, None]
    if not BY_DEPTH:
        scale = tl.load(z + row * out + channel, mask=inside, other=0.0)[:, None]
    sums = tl.zeros([CHANNELS, TOKENS], tl.float32)
    for begin in range(0, depth, DEPTH):
        base = tl.load(weight + at + begin, mask=inside[:, None], other=0.0)
        change = tl.load(delta + at + begin, mask=inside[:, None], other=0.0)
        if BY_DEPTH:
            scale = tl.load(z + row * depth + begin + step)[None, :]
        noised_weight = tl.fma(change, tl.broadcast_to(scale, CHANNELS, DEPTH), base)  # rounded once
        sums = tl.dot(noised_weight, tl.load(x + from_x + begin, mask=there[None, :], other=0.0), sums)
    if not BY_DEPTH:
        sums += tl.load(bias + row * out + channel, mask=inside, other=0.0)[:, None].to(tl.float32)
    into = y + token[None, :] * out + channel[:, None]
    tl.store(into, sums.to(y.dtype.element_ty), mask=inside[:, None] & there[None, :])


@triton.jit
def _scale_and_sum(grad, z, scaled, total, tokens, out, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < out
    scale = tl.load(z + row * out + channel, mask=inside, other=0.0)[None, :].to(tl.float32)
    sums = tl.zeros([CHANNELS], tl.float32)
    for begin in range(0, tokens, TOKENS):
        token = begin + tl.arange(0, TOKENS)
        at = (row * tokens + token[:, None]) * out + channel[None, :]
        inner = (token < tokens)[:, None] & inside[None, :]
        value = tl.load(grad + at, mask=inner, other=0.0).to(tl.float32)
        tl.store(scaled + at, (scale * value).to(scaled.dtype.element_ty), mask=inner)
        sums += tl.sum(value, 0)
    tl.store(total + row * out + channel, sums, mask=inside)
