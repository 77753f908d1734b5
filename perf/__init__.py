"""Measurements: how fast it is, and what PACE and the pretraining are worth."""
