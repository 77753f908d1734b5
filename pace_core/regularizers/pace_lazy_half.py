"""PACE at the price of one pass: the consistency term every few steps, on half of the batch."""

from pydantic import Field

from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._draws import step_of_draws, step_of_one_draw
from pace_core.regularizers._noise_params import NOISE_NEEDS, NOISE_REASONS, NoiseParams
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext


class Params(NoiseParams):
    """Noise, weight and interval; lambda should be larger than under PACE."""

    weight: float = Field(default=1.0, ge=0, alias="lambda")
    """Weight of the consistency term in the steps that have it."""
    interval: int = Field(default=2, ge=1)
    """Steps from one consistency term to the next; the paper tries 2, 4, 6 and 10."""


class Regularizer(Stateless):
    """Every interval-th step half of the batch under two draws; the others all of it under one, without the term."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight, self.interval = context, params.weight, params.interval
        attach_noise(context.model, context.current, params)

    def step(self, batch: Batch, step: int) -> Step:
        if step % self.interval == 0:
            half = max(1, len(batch) // 2)
            part = Batch(batch.images[:half], batch.labels[:half], batch.index[:half])
            return step_of_draws(self.context, part, step, self.weight)
        return step_of_one_draw(self.context, batch, step)


REGULARIZER = Declaration(
    name="pace_lazy_half",
    title="PACE (lazy, half batch)",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, Appendix C",
    needs=NOISE_NEEDS,
    reasons=NOISE_REASONS,
    passes=1.6,
    make=Regularizer,
)
