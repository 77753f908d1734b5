"""Small gradients: the squared norm of the loss's gradient is part of the loss."""

from pydantic import Field

from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._penalty import GradientPenalty
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext, accumulate
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """PACE names no value; the default is ours."""

    weight: float = Field(default=0.01, ge=0, alias="lambda")
    """Weight of ‖∇ mean CE‖², over all that is trained, the head too."""


class Regularizer(Stateless):
    """mean CE(f) + lambda · ‖∇ mean CE(f)‖²."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight = context, params.weight

    def step(self, batch: Batch, step: int) -> Step:
        penalty = GradientPenalty(self.context, batch)

        def passing(samples: slice):
            loss, squared_norm, logits = penalty.passing(samples)
            terms = {"loss_classification": loss, "loss_gradient": squared_norm}
            return {"loss": loss + self.weight * squared_norm, **terms}, logits

        return accumulate(batch, self.context.micro_batch, passing)


REGULARIZER = Declaration(
    name="gradient_penalty",
    title="Gradient penalty",
    doc=__doc__,
    params=Params,
    paper="Barrett & Dherin: Implicit Gradient Regularization, ICLR 2021, arXiv 2009.11162 (explicit form); "
    "PACE, Table 8",
    activation_factor=3.1,
    passes=3.8,  # the second derivative costs nearly three passes
    make=Regularizer,
)
