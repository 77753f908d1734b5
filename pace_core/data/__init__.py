"""Data sources, one file a source; each gives a task's images as uint8 arrays.

A source module has `Params` and
    load(params, *, phase, num_classes, preprocessing, reporter) -> Splits
    survey(params, *, phase, num_classes) -> DataReport: what a run would use, without opening an image
    fingerprint(params, *, phase, num_classes) -> str: SHA-256 of the data that the phase may open, wherever it lies
With phase `search`, `load` opens no file of the test split.
"""

from pace_core.data._report import table, warnings_of
from pace_core.data._splits import Images, ImageSet, Phase, Splits, StreamedImages

__all__ = ["ImageSet", "Images", "Phase", "Splits", "StreamedImages", "table", "warnings_of"]
