"""Sharpness-aware minimization: the gradient is taken where the loss nearby is highest."""

import torch
from pydantic import Field

from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._plain import batch_gradient, norm, plain_step
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """Foret et al.'s value for most of their data sets."""

    rho: float = Field(default=0.05, ge=0)
    """Radius of the neighbourhood: Euclidean length of the move over all that is trained, the head too."""


class Regularizer(Stateless):
    """∇ mean CE at θ + rho · g / ‖g‖, where g = ∇ mean CE at θ; both over the whole batch and the same drop path.

    `loss` is that of the moved weights, `loss_classification` that of θ itself.
    """

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.rho = context, params.rho

    def step(self, batch: Batch, step: int) -> Step:
        trained = self.context.trained
        loss, logits, gradient = batch_gradient(self.context, batch)
        before = [parameter.detach().clone() for parameter in trained]  # adding and subtracting would leave a rest
        length = norm(gradient).clamp_min(torch.finfo(gradient[0].dtype).tiny)
        try:
            with torch.no_grad():
                for parameter, direction in zip(trained, gradient, strict=True):
                    parameter += self.rho / length * direction
            moved = plain_step(self.context, batch)
        finally:
            with torch.no_grad():
                for parameter, value in zip(trained, before, strict=True):
                    parameter.copy_(value)
        return Step({"loss": moved.terms["loss"], "loss_classification": loss}, logits, batch.labels)


REGULARIZER = Declaration(
    name="sam",
    title="SAM",
    doc=__doc__,
    params=Params,
    paper="Foret et al.: Sharpness-Aware Minimization, ICLR 2021, arXiv 2010.01412, eq. 2 and 3; PACE, Table 8",
    passes=2.0,
    make=Regularizer,
)
