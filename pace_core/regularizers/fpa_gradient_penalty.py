"""Outputs close to the pretrained ones and small gradients at once."""

from pydantic import Field

from pace_core.regularizers._alignment import Alignment
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._penalty import GradientPenalty
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext, accumulate
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """The defaults of its two parts."""

    weight: float = Field(default=0.5, ge=0, alias="lambda")
    """Weight of the distance to the pretrained outputs, per squared unit of the logits."""
    gradient_weight: float = Field(default=0.01, ge=0, alias="lambda_gradient")
    """Weight of ‖∇ mean CE‖², over all that is trained, the head too."""


class Regularizer(Stateless):
    """mean CE(f) + lambda · mean ‖f(x; θ) - f(x; θ0)‖² + lambda_gradient · ‖∇ mean CE(f)‖²."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.params, self.alignment = context, params, Alignment(context)

    def step(self, batch: Batch, step: int) -> Step:
        penalty = GradientPenalty(self.context, batch)

        def passing(samples: slice):
            loss, squared_norm, logits = penalty.passing(samples)
            distance = self.alignment.distance(batch, samples, logits)
            whole = loss + self.params.weight * distance + self.params.gradient_weight * squared_norm
            terms = {"loss_classification": loss, "loss_alignment": distance, "loss_gradient": squared_norm}
            return {"loss": whole, **terms}, logits

        return accumulate(batch, self.context.micro_batch, passing)


REGULARIZER = Declaration(
    name="fpa_gradient_penalty",
    title="FPA + gradient penalty",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, Table 8",
    activation_factor=3.1,
    passes=4.1,
    make=Regularizer,
)
