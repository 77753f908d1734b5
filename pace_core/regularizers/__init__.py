"""Regularizers, one per file: each owns the passes, the loss and its gradient in every training step."""

from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers._step import Batch, Regularizer, Setting, Step, consistency

__all__ = ["Batch", "Regularizer", "Setting", "Step", "attach_noise", "consistency"]
