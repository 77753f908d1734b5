"""Steps without noise: cross-entropy, and what is added to it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pace_core.regularizers._step import Batch, Step, StepContext, accumulate, label_loss, slices


def plain_step(context: StepContext, batch: Batch) -> Step:
    """Runs a step of cross-entropy alone, with timm's ordinary drop path."""

    def passing(samples: slice):
        logits = context.forward(batch.images[samples])
        loss = label_loss(logits, batch.labels[samples], batch.counted)
        return {"loss": loss, "loss_classification": loss}, logits

    return accumulate(batch, context.micro_batch, passing)


def with_penalty(done: Step, weight: float, name: str, parts: Iterable[Tensor]) -> Step:
    """Adds `weight * sum(parts)` to the loss of a step that is done.

    The parts do not depend on the batch; each is back-propagated separately, so that only one graph is in memory.
    """
    total = torch.zeros_like(done.terms["loss"])
    for part in parts:
        if weight:
            (weight * part).backward()
        total += part.detach()
    return Step({**done.terms, "loss": done.terms["loss"] + weight * total, name: total}, done.logits, done.labels)


def batch_gradient(context: StepContext, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Returns the batch's mean cross-entropy, its logits, and the gradient w.r.t. all trained parameters.

    The parameters' own gradients stay as they are. What torch draws on the way (drop path, dropout) is drawn again by
    the passes that follow, so that both see one and the same function of the weights.
    """
    trained, device = context.trained, batch.images.device
    loss, logits = torch.zeros((), device=device), list[Tensor]()
    gradient = [torch.zeros_like(parameter) for parameter in trained]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for samples in slices(len(batch), context.micro_batch):
            outputs = context.forward(batch.images[samples])
            part = label_loss(outputs, batch.labels[samples], batch.counted)
            for total, share in zip(gradient, torch.autograd.grad(part, trained, materialize_grads=True), strict=True):
                total += share
            loss = loss + part.detach()
            logits.append(outputs.detach())
    return loss, torch.cat(logits), gradient


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Returns the Euclidean norm of all of them together."""
    return torch.stack([tensor.norm() for tensor in tensors]).norm()
