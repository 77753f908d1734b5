"""Few weights change: the absolute values of the change are part of the loss."""

from pydantic import Field

from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._plain import plain_step, with_penalty
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext
from pace_core.regularizers._weight_change import WeightChange
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """PACE names no value; the default is ours."""

    weight: float = Field(default=1e-5, ge=0, alias="lambda")
    """Weight of the sum of absolute values, per unit of a weight; the head is free."""


class Regularizer(Stateless):
    """mean CE(f) + lambda · (‖dW‖₁ + ‖db‖₁), summed over layers."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight, self.change = context, params.weight, WeightChange(context.model)

    def step(self, batch: Batch, step: int) -> Step:
        parts = (change.abs().sum() for change in self.change)
        return with_penalty(plain_step(self.context, batch), self.weight, "loss_change", parts)


REGULARIZER = Declaration(
    name="l1",
    title="L1",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, Table 8",
    passes=1.2,
    make=Regularizer,
)
