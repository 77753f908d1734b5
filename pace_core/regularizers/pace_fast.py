"""PACE at the price of one pass: the second draw is the sample's logits of the epoch before."""

import torch
from pydantic import Field
from torch import Tensor

from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._noise_params import NOISE_NEEDS, NOISE_REASONS, NoiseParams
from pace_core.regularizers._step import Batch, Step, StepContext, accumulate, consistency, label_loss


class Params(NoiseParams):
    """Noise and weight; sigma should be larger and lambda smaller than under PACE."""

    weight: float = Field(default=0.2, ge=0, alias="lambda")
    """Weight of the consistency term."""


class Regularizer:
    """One draw a step, and a table of logits (training samples, classes) that begins at zero."""

    interval = 1

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight = context, params.weight
        attach_noise(context.model, context.current, params)
        like = next(p for p in context.model.parameters() if p.requires_grad)
        self.history = torch.zeros(context.train_samples, context.num_classes, dtype=like.dtype, device=like.device)

    def step(self, batch: Batch, step: int) -> Step:
        earlier = self.history[batch.index]

        def passing(samples: slice):
            with self.context.current.noised(step, len(batch), 1, samples):
                logits = self.context.forward(batch.images[samples])
            terms = {
                "loss_classification": label_loss(logits, batch.labels[samples], batch.counted),
                "loss_consistency": consistency(logits, earlier[samples], batch.counted),
            }
            return {"loss": terms["loss_classification"] + self.weight * terms["loss_consistency"], **terms}, logits

        done = accumulate(batch, self.context.micro_batch, passing)
        self.history[batch.index] = done.logits
        return done

    def after_update(self) -> None:
        return

    def state_dict(self) -> dict[str, Tensor]:
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.history.copy_(state["history"])


REGULARIZER = Declaration(
    name="pace_fast",
    title="PACE (fast)",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, Appendix C, eq. 32",
    needs=NOISE_NEEDS,
    reasons=NOISE_REASONS,
    passes=1.6,
    mixes=False,  # the epoch before saw other mixtures
    make=Regularizer,
)
