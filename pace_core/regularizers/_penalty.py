"""The squared norm of the loss's gradient, whose own gradient takes a second differentiation."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pace_core.regularizers._plain import batch_gradient
from pace_core.regularizers._step import Batch, StepContext, label_loss


class GradientPenalty:
    """‖g‖² with g = ∇ mean CE over the whole batch, w.r.t. all that is trained; its gradient is 2 H g.

    g belongs to the batch: of micro-batches it is summed up in a sweep before, then each adds its own 2 H_s g, so the
    result is that of the whole batch, for one more pass.
    """

    def __init__(self, context: StepContext, batch: Batch) -> None:
        self._context, self._batch = context, batch
        split = context.micro_batch is not None and context.micro_batch < len(batch)
        self._of_batch = batch_gradient(context, batch)[2] if split else None

    def passing(self, samples: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Returns cross-entropy, penalty (both as shares of the batch's) and logits of some of the samples."""
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels' backward passes cannot be differentiated
            logits = self._context.forward(self._batch.images[samples])
        loss = label_loss(logits, self._batch.labels[samples], self._batch.counted)
        gradients = torch.autograd.grad(loss, self._context.trained, create_graph=True, materialize_grads=True)
        of_batch = self._of_batch or [gradient.detach() for gradient in gradients]
        product = torch.stack([(a * b).sum() for a, b in zip(gradients, of_batch, strict=True)]).sum()
        return loss, 2 * product - product.detach(), logits  # the value is g_s · g, the gradient 2 H_s g
