"""Feature maps stay close to the pretrained network's, most in the channels that the task needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core.network.parts import blocks_of
from pace_core.network.pretrained import Pretrained
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._step import Batch, Stateless, Step, StepContext, accumulate, label_loss
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """Li et al.'s alpha of 0.01 on half of a sum over 64 samples is 0.32 on a mean over samples."""

    weight: float = Field(default=0.32, ge=0, alias="lambda")
    """Weight of the distance, per squared unit of the feature maps."""


class Regularizer(Stateless):
    """mean CE + lambda · Σ over blocks of mean over samples and tokens of Σ_c C a_c (FM_c - FM*_c)².

    FM, FM*: a block's output (tokens, C) in the fine-tuned and the pretrained network (prompts are left out). The
    attention a, a softmax over the channels, says how much a sample's loss under the present head would rise in the
    pretrained network if the channel were silent. Li et al. silence each in turn before training, which would be
    thousands of passes here; the rise is taken to first order, - Σ over tokens of ∂CE/∂FM* FM*, anew in every step.
    Gradients flow to FM alone.
    """

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.weight, self.pretrained = context, params.weight, Pretrained(context.model)
        self.maps = _FeatureMaps(context.model)
        self.prefix = getattr(context.model, "num_prefix_tokens", 1)

    def step(self, batch: Batch, step: int) -> Step:
        def passing(samples: slice):
            images, labels = batch.images[samples], batch.labels[samples]
            with self.maps.caught() as ours:
                logits = self.context.forward(images)
            with self.maps.caught(leaves=True) as theirs:
                rise = F.cross_entropy(self.context.forward(images, self.pretrained), labels, reduction="sum")
            slopes = torch.autograd.grad(rise, theirs)
            distance = torch.stack([self._distance(*maps) for maps in zip(ours, theirs, slopes, strict=True)]).sum()
            terms = {
                "loss_classification": label_loss(logits, labels, batch.counted),
                "loss_features": distance / len(batch),
            }
            return {"loss": terms["loss_classification"] + self.weight * terms["loss_features"], **terms}, logits

        return accumulate(batch, self.context.micro_batch, passing)

    def _distance(self, ours: Tensor, theirs: Tensor, slopes: Tensor) -> Tensor:
        theirs = theirs.detach()
        extra = ours.shape[1] - theirs.shape[1]
        if extra:  # prompts stand behind the class token, and the pretrained network has none
            ours = torch.cat([ours[:, : self.prefix], ours[:, self.prefix + extra :]], dim=1)
        return (attention(theirs, slopes) * (ours - theirs).square().flatten(1, -2).mean(1)).sum()


def attention(maps: Tensor, slopes: Tensor) -> Tensor:
    """Returns weights (batch, C) of a block's channels, 1 on average; maps and slopes of the loss: (batch, …, C).

    As in the authors' code, rises are brought to zero mean and unit std over the channels, and divided by 5.
    """
    rise = -(maps * slopes).flatten(1, -2).sum(1)
    spread = rise.std(1, keepdim=True).clamp_min(torch.finfo(rise.dtype).tiny)
    return rise.shape[1] * ((rise - rise.mean(1, keepdim=True)) / spread / 5).softmax(1)


class _FeatureMaps:
    """The outputs (batch, …, C) of all blocks, caught in order of depth."""

    def __init__(self, model: nn.Module) -> None:
        self._caught: list[Tensor] | None = None
        self._leaves = False
        for name in blocks_of(model):
            model.get_submodule(name).register_forward_hook(self._catch)

    @contextmanager
    def caught(self, leaves: bool = False) -> Iterator[list[Tensor]]:
        """Collects the maps of the pass within. With `leaves`, gradients begin at the first one."""
        self._caught, self._leaves = [], leaves
        try:
            yield self._caught
        finally:
            self._caught = None

    def _catch(self, _block: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if self._caught is None:
            return None
        maps, rest = (
            (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        )  # text blocks may say more
        if self._leaves and not self._caught:
            maps = maps.detach().requires_grad_()
        self._caught.append(maps)
        return maps if rest is None else (maps, *rest)


REGULARIZER = Declaration(
    name="delta",
    title="DELTA",
    doc=__doc__,
    params=Params,
    paper="Li et al.: DELTA, ICLR 2019, arXiv 1901.09229, section 3; PACE, Table 8",
    passes=1.9,  # the pretrained network's backward pass ends at its feature maps
    make=Regularizer,
)
