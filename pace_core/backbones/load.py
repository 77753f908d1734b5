"""The backbone that a spec names, of the kind that reads its task's samples."""

import importlib
from typing import TYPE_CHECKING

from pace_core.backbones import vision
from pace_core.spec import RunSpec
from pace_core.spec.catalogue import Gives

if TYPE_CHECKING:
    from pace_core.backbones.causal import LoadedCausal
    from pace_core.backbones.text import LoadedText

    Loaded = vision.Loaded | LoadedText | LoadedCausal


def load(spec: RunSpec, gives: Gives) -> "Loaded":
    """Loads the backbone without a classifier, ready for a method to adapt. `gives`: what the task's samples are.

    Raises RunError `weights_missing` or `spec_invalid`.
    """
    if gives == "images":
        return vision.load(spec.backbone, num_classes=0, drop_path=spec.training.drop_path or 0.0)
    kind = "text" if gives == "sentences" else "causal"
    return importlib.import_module(f"pace_core.backbones.{kind}").load(spec.backbone)  # `transformers` loads slowly
