"""Hyperparameters that the noised regularizers share."""

from pydantic import Field

from pace_core.spec import ParamsModel

NOISE_NEEDS = frozenset({"delta"})
NOISE_REASONS = {"delta": "it multiplies the adapter's output by noise, so that output must stand apart"}


class NoiseParams(ParamsModel):
    """Multiplicative Gaussian noise on the adapters' outputs, falling linearly over depth."""

    sigma: float = Field(default=1.0, ge=0)
    """Std of the noise in the first noised block, dimensionless; 0 switches it off."""
