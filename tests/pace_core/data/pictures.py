"""What the bundled tasks look like: coarse copies of a few pictures, kept so that a change of any generator is noticed.

`python -m tests.pace_core.data.pictures` writes them anew; raise the task's VERSION then.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pace_core.data import vtab_mini

KEPT = Path(__file__).with_name("pictures.npz")


def coarse(task: str) -> NDArray[np.float64]:
    """Brightness of 8x8 blocks, in 0..255, of the first picture of each of three classes: [3, 8, 8, 3]."""
    module = vtab_mini.TASKS[task]
    drawn = [module.draw(label, "train", vtab_mini.generator(task, "train", label)) for label in range(3)]
    return 255 * np.clip(np.stack(drawn), 0, 1).reshape(3, 8, 8, 8, 8, 3).mean((2, 4))


if __name__ == "__main__":
    np.savez_compressed(KEPT, **{task: coarse(task).astype(np.float32) for task in vtab_mini.TASKS})  # pyright: ignore[reportArgumentType]
