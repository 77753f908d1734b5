"""Steps of loading that any network of `transformers` takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers

_INIT_SEED = 0


def state_of(origin: str) -> tuple[tuple[str, int, int], ...]:
    """Returns what tells one state of a folder from the next."""
    folder = Path(origin)
    if not folder.is_dir():
        return ()
    files = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)


@contextmanager
def seeded() -> Iterator[None]:
    """Draws random weights that are the same in every run, and leaves the process's generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_INIT_SEED)
        yield


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps `transformers` from saying that the classifier is new, and from drawing bars."""
    logger = transformers.utils.logging
    level, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    logger.set_verbosity_error()
    logger.disable_progress_bar()
    try:
        yield
    finally:
        logger.set_verbosity(level)
        if bars:
            logger.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Returns what an error says, on one line."""
    said = str(error).strip().splitlines()
    return f"{said[0] if said else type(error).__name__}".rstrip(".")
