"""Noise on the adapters without the consistency term."""

from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._draws import step_of_one_draw
from pace_core.regularizers._noise_params import NOISE_NEEDS, NOISE_REASONS, NoiseParams
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext


class Params(NoiseParams):
    """Only the noise; no term, so no weight."""


class Regularizer(Stateless):
    """One pass under noise; the loss is cross-entropy alone."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context = context
        attach_noise(context.model, context.current, params)

    def step(self, batch: Batch, step: int) -> Step:
        return step_of_one_draw(self.context, batch, step)


REGULARIZER = Declaration(
    name="noise",
    title="Adapter noise",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, Table 8",
    needs=NOISE_NEEDS,
    reasons=NOISE_REASONS,
    passes=1.6,
    make=Regularizer,
)
