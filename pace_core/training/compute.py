"""Device, precision and preprocessing of a run's passes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pace_core.preprocessing import Preprocessing
from pace_core.tokenization import Tokenization
from pace_core.training.precision import Precision

if TYPE_CHECKING:
    from pace_core.chat import Chat


@dataclass(frozen=True)
class Compute:
    """The transform of the images or texts, the precision of the passes, and the device."""

    preprocessing: "Preprocessing | Tokenization | Chat"
    precision: Precision
    device: torch.device
