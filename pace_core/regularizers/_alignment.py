"""The distance of fine-tuned outputs from the pretrained ones."""

from torch import Tensor

from pace_core.network.pretrained import Pretrained
from pace_core.regularizers._step import Batch, StepContext, consistency


class Alignment:
    """The FP-distance (1/n) Σ ‖f(x; θ) - f(x; θ0)‖² (PACE, eq. 5): both under the head as it is, θ0 without drop path.

    Gradients flow to θ and, through both outputs, to the head.
    """

    def __init__(self, context: StepContext) -> None:
        self._context, self._pretrained = context, Pretrained(context.model)

    def distance(self, batch: Batch, samples: slice, logits: Tensor) -> Tensor:
        """Returns the distance of some samples as their share of the batch's mean. logits: f(x; θ) of these samples."""
        return consistency(logits, self._context.forward(batch.images[samples], self._pretrained), batch.counted)
