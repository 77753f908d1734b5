"""Device, precision and preprocessing of a run's passes."""

from dataclasses import dataclass

import torch

from pace_core.preprocessing import Preprocessing
from pace_core.tokenization import Tokenization
from pace_core.training.precision import Precision


@dataclass(frozen=True)
class Compute:
    """The transform of the images or texts, the precision of the passes, and the device."""

    preprocessing: Preprocessing | Tokenization
    precision: Precision
    device: torch.device
