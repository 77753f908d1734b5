"""How long `pace predict` takes for ten images on a warm machine, beside importing torch and no more.

python -m perf.predict_start
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pace_core.run import run
from pace_core.spec import Directive, validate
from perf.shapes import draw_shapes

RUNS = 3


class Silent:
    """A reporter that nobody listens to."""

    def event(self, type: str, data: dict[str, object]) -> None: ...

    def directive(self) -> Directive:
        return "continue"


def main() -> None:
    """Prints the medians, by the wall and by the processor, and the ratio of the processor's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_shapes(folder / "shapes", {"train": 8, "test": 10})
        spec = {
            "task": {"name": "shapes", "source": "image_folder", "path": str(folder / "shapes")},
            "method": {"name": "lora_add"},
            "training": {"epochs": 1},
        }
        run(validate(spec), Silent(), str(folder / "run"))
        predict = ["-m", "pace_core", "predict", str(folder / "run"), str(folder / "shapes" / "test" / "circle")]
        commands = {"import torch": ["-c", "import torch"], "pace predict": predict}
        taken = {said: [_seconds(command) for _ in range(RUNS + 1)][1:] for said, command in commands.items()}
    for said, seconds in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
        print(f"{said}: {wall:.2f} s, {processor:.2f} s of the processor (medians of {RUNS})")
    alone, whole = (statistics.median(processor for _, processor in seconds) for seconds in taken.values())
    print(f"ten images: {whole / alone:.2f} times importing torch")


def _seconds(command: list[str]) -> tuple[float, float]:
    """Returns the seconds of the wall and of the processor that a fresh interpreter takes."""
    began = time.perf_counter()
    before = os.times()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


if __name__ == "__main__":
    main()
