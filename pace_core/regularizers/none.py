"""Cross-entropy alone."""

from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._plain import plain_step
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """Nothing to choose."""


class Regularizer(Stateless):
    """One pass, no noise; timm's ordinary drop path."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context = context

    def step(self, batch: Batch, step: int) -> Step:
        return plain_step(self.context, batch)


REGULARIZER = Declaration(
    name="none",
    title="No regularization",
    doc=__doc__,
    params=Params,
    passes=1.0,
    make=Regularizer,
)
