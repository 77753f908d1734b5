"""Fine-tuned outputs are kept close to the pretrained ones (FP-alignment)."""

from pydantic import Field

from pace_core.regularizers._alignment import Alignment
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext, accumulate, label_loss
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """The paper names no value; the default is that of PACE's own term."""

    weight: float = Field(default=0.5, ge=0, alias="lambda")
    """Weight of the distance, per squared unit of the logits."""


class Regularizer(Stateless):
    """mean CE(f) + lambda · mean ‖f(x; θ) - f(x; θ0)‖²."""

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight, self.alignment = context, params.weight, Alignment(context)

    def step(self, batch: Batch, step: int) -> Step:
        def passing(samples: slice):
            logits = self.context.forward(batch.images[samples])
            terms = {
                "loss_classification": label_loss(logits, batch.labels[samples], batch.counted),
                "loss_alignment": self.alignment.distance(batch, samples, logits),
            }
            return {"loss": terms["loss_classification"] + self.weight * terms["loss_alignment"], **terms}, logits

        return accumulate(batch, self.context.micro_batch, passing)


REGULARIZER = Declaration(
    name="fpa",
    title="FPA",
    doc=__doc__,
    params=Params,
    paper="PACE, NeurIPS 2024, eq. 5 and Table 8",
    passes=1.35,  # the pretrained network's forward pass has no backward pass
    make=Regularizer,
)
