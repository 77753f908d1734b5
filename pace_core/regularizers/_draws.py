"""Steps under noise: one draw for each sample, or several and their distance."""

from itertools import combinations

import torch

from pace_core.regularizers._step import Batch, Step, StepContext, accumulate, consistency, label_loss


def step_of_one_draw(context: StepContext, batch: Batch, step: int) -> Step:
    """Runs a step of cross-entropy under one draw of the noise."""

    def passing(samples: slice):
        with context.current.noised(step, len(batch), 1, samples):
            logits = context.forward(batch.images[samples])
        loss = label_loss(logits, batch.labels[samples], batch.counted)
        return {"loss": loss, "loss_classification": loss}, logits

    return accumulate(batch, context.micro_batch, passing)


def step_of_draws(context: StepContext, batch: Batch, step: int, weight: float, networks: int = 2) -> Step:
    """Runs a step of mean CE(f1) + weight · mean ||fa - fb||² (PACE, eq. 12 and Figure 6).

    The mean of the distances is over all pairs a < b of `networks` draws. Gradients flow through all draws.
    """

    def passing(samples: slice):
        with context.current.noised(step, len(batch), networks, samples):
            draws = context.forward(batch.images[samples]).chunk(networks)
        distances = [consistency(a, b, batch.counted) for a, b in combinations(draws, 2)]
        terms = {
            "loss_classification": label_loss(draws[0], batch.labels[samples], batch.counted),
            "loss_consistency": torch.stack(distances).mean(),
        }
        return {"loss": terms["loss_classification"] + weight * terms["loss_consistency"], **terms}, draws[0]

    return accumulate(batch, context.micro_batch, passing)
