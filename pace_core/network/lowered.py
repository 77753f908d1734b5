"""Frozen weights as autocast multiplies with them: cast, and transposed, once instead of in every pass."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_Made = tuple[tuple[object, ...], Tensor]
_cast: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_transposed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def lowered(weight: Tensor) -> Tensor:
    """Returns the weight in autocast's type; the weight itself where it is trained, and where there is no autocast."""
    device = weight.device.type
    if weight.requires_grad or not torch.is_autocast_enabled(device):
        return weight
    dtype = torch.get_autocast_dtype(device)
    return weight if weight.dtype == dtype else _once(_cast, weight, lambda: weight.detach().to(dtype), dtype)


def transposed(weight: Tensor) -> Tensor:
    """Returns a contiguous copy of the transpose of a frozen weight (out, in)."""
    return _once(_transposed, weight, lambda: weight.detach().t().contiguous())


def _once(made: WeakTensorKeyDictionary, weight: Tensor, make: Callable[[], Tensor], *about: object) -> Tensor:
    """Makes it where it is not there, or the weight is no longer what it was made of."""
    state = (weight.data_ptr(), weight._version, weight.device, *about)  # pyright: ignore[reportPrivateUsage]
    known: _Made | None = made.get(weight)
    if known is None or known[0] != state:
        known = made[weight] = (state, make())
    return known[1]
