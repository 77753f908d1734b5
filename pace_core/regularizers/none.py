"""Cross-entropy alone."""

from pace_core.regularizers._step import Batch, Setting, Stateless, Step, accumulate, classification
from pace_core.spec import ParamsModel

NAME = "none"
TITLE = "No regularization"
PAPER = ""
NEEDS: frozenset[str] = frozenset()
PASSES = 1.0


class Params(ParamsModel):
    """Nothing to choose."""


class Regularizer(Stateless):
    """One pass, no noise; timm's ordinary drop path."""

    def __init__(self, params: Params, setting: Setting) -> None:
        self.setting = setting

    def step(self, batch: Batch, step: int) -> Step:
        def passing(samples: slice):
            logits = self.setting.forward(batch.images[samples])
            loss = classification(logits, batch.labels[samples], len(batch))
            return {"loss": loss, "loss_classification": loss}, logits

        return accumulate(batch, self.setting.micro_batch, passing)
