"""After every update the weights are projected towards the pretrained ones, as far as the loss's gradient asks."""

import torch
from pydantic import Field
from torch import Tensor

from pace_core.network.parts import head_prefix
from pace_core.regularizers._declaration import Declaration
from pace_core.regularizers._plain import plain_step
from pace_core.regularizers._step import Batch, Step, StepContext
from pace_core.spec import ParamsModel

_SMALLEST_RADIUS, _RATE, _BETA1, _BETA2, _EPS = 1e-8, 1e-2, 0.9, 0.999, 1e-8  # Tian et al.'s, for the radii's Adam


class Params(ParamsModel):
    """Tian et al. tune nothing but kappa, and that seldom."""

    kappa: float = Field(default=1.0, ge=0, le=1)
    """Factor on a radius's gradient where it would shrink the radius; 0: radii only grow."""


class Regularizer:
    """Each tensor's rows r of θ - θ0 are scaled by min(1, radius / ‖r‖₁), with one radius a tensor that is learned.

    The radius of the update before is moved by Adam along the loss's gradient at the weights that it produced, so no
    pass is added. As in the authors' code that gradient is Σ over all rows of ∂loss/∂r · r / ‖r‖₁, rows within the
    radius included (which do not depend on it), and Adam's bias is corrected from its second step on. θ0 is what is
    trained at its start, which of adapters that begin at zero change is the pretrained network; a vector is one row;
    the head is free.
    """

    interval = 1

    def __init__(self, params: Params, context: StepContext) -> None:
        self.context, self.kappa = context, params.kappa
        head = head_prefix(context.model)
        named = {n: p for n, p in context.model.named_parameters() if p.requires_grad and not n.startswith(head)}
        self.trained = dict(sorted(named.items()))
        self.start = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        self.free = {name: torch.zeros_like(parameter) for name, parameter in self.trained.items()}
        like = context.trained[0]
        self.radius = torch.full((len(named),), _SMALLEST_RADIUS, dtype=like.dtype, device=like.device)
        self.first, self.second = torch.zeros_like(self.radius), torch.zeros_like(self.radius)
        self.updates = torch.zeros((), dtype=torch.int64)

    def step(self, batch: Batch, step: int) -> Step:
        return plain_step(self.context, batch)

    @torch.no_grad()
    def after_update(self) -> None:
        if self.trained and self.updates > 0:
            self._move_radii()
        self.updates += 1
        for number, (name, parameter) in enumerate(self.trained.items()):
            change = parameter - self.start[name]
            norms = _row_norms(change)
            self.radius[number] = torch.minimum(self.radius[number], norms.max()).clamp_min(_SMALLEST_RADIUS)
            self.free[name].copy_(change)
            shrunk = _rows(change) * (self.radius[number] / norms).clamp(max=1)
            parameter.copy_(self.start[name] + shrunk.view_as(parameter))

    def _move_radii(self) -> None:
        """Moves every radius by one step of Adam along the sum of its rows' slopes."""
        slopes: list[Tensor] = []
        for name, parameter in self.trained.items():
            free, norms = _rows(self.free[name]), _row_norms(self.free[name])
            along = torch.zeros_like(free) if parameter.grad is None else _rows(parameter.grad) * free / norms
            slopes.append(along.sum())
        slope = torch.stack(slopes)
        slope = torch.where(slope > 0, self.kappa * slope, slope)
        self.first.lerp_(slope, 1 - _BETA1)
        self.second.lerp_(slope.square(), 1 - _BETA2)
        count = int(self.updates) + 1  # the authors count the update before, which only sets the radius
        mean, square = self.first / (1 - _BETA1**count), self.second / (1 - _BETA2**count)
        self.radius -= _RATE * mean / (square.sqrt() + _EPS)

    def state_dict(self) -> dict[str, Tensor]:
        statistics = {"radius": self.radius, "first": self.first, "second": self.second, "updates": self.updates}
        return statistics | {f"free/{name}": value for name, value in self.free.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in self.state_dict().items():
            value.copy_(state[name])


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), -1) if tensor.dim() > 1 else tensor.reshape(1, -1)


def _row_norms(tensor: Tensor) -> Tensor:
    """Returns the sums of absolute values plus 1e-8, so never zero; shape (rows, 1)."""
    return _rows(tensor).abs().sum(1, keepdim=True) + _SMALLEST_RADIUS


REGULARIZER = Declaration(
    name="ftp",
    title="FTP",
    doc=__doc__,
    params=Params,
    paper="Tian et al.: Fast Trainable Projection, NeurIPS 2023, arXiv 2310.19182, Algorithm 1; PACE, Table 8",
    passes=1.1,
    make=Regularizer,
)
