"""What an actor does before its first job, so that the job need not."""

import importlib


def warm_up(device: str) -> None:
    torch = importlib.import_module("torch")
    importlib.import_module("timm")
    torch.zeros(1, device=device)
