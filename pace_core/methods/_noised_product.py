"""A noised linear layer as one product a token instead of two: W0 x + z ⊙ (dW x) = (W0 + diag(z) dW) x.

z is the same for all tokens of a sample, so each sample has a weight of its own; it is formed where it is used, in the
cache, and formed again for the backward pass. The products with the input fall from five to three a layer, as in an
ordinary merged layer. For CPUs: on a GPU this would take a kernel that forms the weight within the product.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class NoisedProduct(torch.autograd.Function):
    """x [rows, tokens, in], W0 [out, in], b0 [rows, out] (bias, noise included), dW [out, in], z [rows, out]."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, delta: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, delta, z)
        y, own = x.new_empty(*x.shape[:2], len(weight)), torch.empty_like(weight)
        for row in range(len(x)):
            torch.addcmul(weight, z[row, :, None], delta, out=own)
            torch.addmm(bias[row], x[row], own.t(), out=y[row])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, delta, z = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x, own = torch.empty_like(x), torch.empty_like(weight)
            for row in range(len(x)):
                torch.addcmul(weight, z[row, :, None], delta, out=own)
                torch.mm(grad[row], own, out=grad_x[row])
        noised = (grad * z.unsqueeze(1)).flatten(0, 1)
        return grad_x, None, grad.sum(1), noised.t() @ x.flatten(0, 1), None
