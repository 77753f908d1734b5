"""Data sources, one file a source; each gives a task's images as uint8 arrays, decoded once.

A source module has `Params` and
    load(params, *, phase, num_classes, image_size, reporter) -> Splits
    fingerprint(params, *, phase, num_classes) -> str: SHA-256 of the data that the phase may open, wherever it lies
With phase `search`, `load` opens no file of the test split.
"""

from pace_core.data._cache import decode
from pace_core.data._splits import ImageSet, Phase, Splits

__all__ = ["ImageSet", "Phase", "Splits", "decode"]
