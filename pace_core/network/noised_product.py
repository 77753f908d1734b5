"""A noised linear layer: W0 x + z ⊙ (dW x), where z is the same for all tokens of a sample.

It is also (W0 + diag(z) dW) x: each sample has a weight of its own, which a CPU forms where it is used, in the cache,
and a GPU within a kernel. The products with the input fall from five to three a layer, as in an ordinary merged layer.
"""

import importlib
from functools import cache
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def noised_product(x: Tensor, weight: Tensor, bias: Tensor, delta: Tensor, z: Tensor) -> Tensor:
    """Returns x [rows, tokens, in] through W0 [out, in] and z [rows, out] times dW, plus a bias [rows, out].

    On a GPU under autocast the products are of its type, as `lowered` gives the weight.
    """
    if x.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        x, delta, z = (value.to(torch.get_autocast_dtype("cuda")) for value in (x, delta, z))
    return NoisedProduct.apply(x, weight, bias, delta, z)  # pyright: ignore[reportReturnType]


class NoisedProduct(torch.autograd.Function):
    """x [rows, tokens, in], W0 [out, in], bias [rows, out] (noise included), dW [out, in], z [rows, out]."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, delta: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, delta, z)
        if x.device.type == "cpu":
            return _by_row(x, weight, bias, delta, z)
        if fitting := _fitting(x, weight):
            return fitting.product(x.contiguous(), weight, delta, z, bias)
        noised = torch.addcmul(bias.unsqueeze(1).to(x.dtype), z.unsqueeze(1), x @ delta.t())
        return noised.flatten(0, 1).addmm_(x.flatten(0, 1), weight.t()).view_as(noised)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, delta, z = ctx.saved_tensors
        fitting = _fitting(x, weight) if x.device.type == "cuda" else None
        if fitting:
            grad = grad.contiguous()
            noised, total = fitting.scaled_and_summed(grad, z)
        else:
            noised, total = grad * z.unsqueeze(1), grad.sum(1)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if fitting:
                grad_x = fitting.product_back(grad, weight, delta, z)
            elif x.device.type == "cpu":
                grad_x = _back_by_row(grad, weight, delta, z)
            else:
                grad_x = (grad.flatten(0, 1) @ weight).addmm_(noised.flatten(0, 1), delta).view_as(x)
        return grad_x, None, total, noised.flatten(0, 1).t() @ x.flatten(0, 1), None


def _by_row(x: Tensor, weight: Tensor, bias: Tensor, delta: Tensor, z: Tensor) -> Tensor:
    y, noised_weight = x.new_empty(*x.shape[:2], len(weight)), torch.empty_like(weight)
    for row in range(len(x)):
        torch.addcmul(weight, z[row, :, None], delta, out=noised_weight)
        torch.addmm(bias[row], x[row], noised_weight.t(), out=y[row])
    return y


def _back_by_row(grad: Tensor, weight: Tensor, delta: Tensor, z: Tensor) -> Tensor:
    grad_x, noised_weight = grad.new_empty(*grad.shape[:2], weight.shape[1]), torch.empty_like(weight)
    for row in range(len(grad)):
        torch.addcmul(weight, z[row, :, None], delta, out=noised_weight)
        torch.mm(grad[row], noised_weight, out=grad_x[row])
    return grad_x


def _fitting(x: Tensor, weight: Tensor) -> ModuleType | None:
    known = kernels()
    return known if known and known.fits(x, len(weight)) else None


@cache
def kernels() -> ModuleType | None:
    """Returns the kernels where there is a Triton; it is loaded when a GPU asks for it, since that takes a second."""
    try:
        return importlib.import_module("pace_core.network.noised_kernels")
    except ImportError:
        return None
