"""The training core: fine-tunes a pretrained transformer as a RunSpec says, with no service around it.

Importing this package loads nothing heavy; `pace_core.run` brings torch.
"""
