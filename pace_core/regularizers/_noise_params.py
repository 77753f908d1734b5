"""Hyperparameters that the noised regularizers share."""

from typing import Literal

from pydantic import Field

from pace_core.network.layer_noise import NoiseKind
from pace_core.spec import ParamsModel

NOISE_NEEDS = frozenset({"delta"})
NOISE_REASONS = {"delta": "it puts noise on the adapter's output, so that output must stand apart"}

Depth = Literal["decreasing", "constant", "increasing"]


class NoiseParams(ParamsModel):
    """Noise on the adapters' outputs; the defaults are PACE's, the other choices its ablations (Table 8)."""

    sigma: float = Field(default=1.0, ge=0)
    """Largest std of the noise over depth, dimensionless (additive: in units of the layers' outputs); 0: no noise."""
    noise: NoiseKind = "multiplicative"
    """multiplicative: z ~ N(1, sigma²) times the output; additive: sigma · N(0, 1) added to it; dropout: z is 0 or
    1 / q with q = 1 / (1 + sigma²), of the same mean and std."""
    perturb: Literal["adapter", "output"] = "adapter"
    """What the noise falls on: the adapter's output alone, or the layer's whole output (additive: the same)."""
    depth: Depth = "decreasing"
    """How sigma goes with depth: falling linearly, the same everywhere, or growing linearly; a ViT's first block has
    none in all three."""
