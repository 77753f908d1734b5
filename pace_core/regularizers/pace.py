"""PACE: noise on the adapters, and a term that keeps the logits alike under two draws of it."""

from pydantic import Field

from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._draws import step_of_draws
from pace_core.regularizers._noise_params import NOISE_NEEDS, NOISE_REASONS, NoiseParams
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext


class Params(NoiseParams):
    """Noise std and regularization weight: the two that the paper searches."""

    weight: float = Field(default=0.5, ge=0, alias="lambda")
    """Weight of the consistency term, per squared unit of the logits."""
    networks: int = Field(default=2, ge=2)
    """Draws of each sample, M in Figure 6; the term is the mean over all pairs of them, the time grows with M."""


class Regularizer(Stateless):
    """PACE's step: all draws of every sample go through the network in one pass."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight, self.networks = context, params.weight, params.networks
        attach_noise(context.model, context.current, params)

    def step(self, batch: Batch, step: int) -> Step:
        return step_of_draws(self.context, batch, step, self.weight, self.networks)


REGULARIZER = Declaration(
    name="pace",
    title="PACE",
    doc=__doc__,
    params=Params,
    paper="Ni, Zhang, Koniusz: PACE, NeurIPS 2024, arXiv 2409.17137, eq. 12",
    needs=NOISE_NEEDS,
    reasons=NOISE_REASONS,
    activation_factor=1.8,  # two networks' at once, whose frozen parts are the same
    passes=3.2,  # of two networks; 1.6 for each
    make=Regularizer,
)
