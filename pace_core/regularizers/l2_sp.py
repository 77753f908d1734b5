"""Weights stay close to the pretrained ones: the squares of the change are part of the loss."""

from pydantic import Field

from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._plain import plain_step, with_penalty
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext
from pace_core.regularizers._weight_change import WeightChange
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """Li et al.'s alpha of 0.1, which they halve; their term on the head is left to the weight decay."""

    weight: float = Field(default=0.05, ge=0, alias="lambda")
    """Weight of the sum of squares, per squared unit of a weight; the head is free."""


class Regularizer(Stateless):
    """mean CE(f) + lambda · ‖θ - θ0‖², for adapters lambda · (‖dW‖² + ‖db‖²), summed over layers."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight, self.change = context, params.weight, WeightChange(context.model)

    def step(self, batch: Batch, step: int) -> Step:
        parts = (change.square().sum() for change in self.change)
        return with_penalty(plain_step(self.context, batch), self.weight, "loss_change", parts)


REGULARIZER = Declaration(
    name="l2_sp",
    title="L2-SP",
    doc=__doc__,
    params=Params,
    paper="Li, Grandvalet, Davoine: Explicit Inductive Bias for Transfer Learning, ICML 2018, "
    "arXiv 1802.01483; PACE, Table 8",
    passes=1.2,
    make=Regularizer,
)
