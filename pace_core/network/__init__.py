"""Foundations of every method and regularizer: a network's parts by name, the residual form, the pretrained network."""
