"""Draws the running service's leaderboard of vtab-mini as the README shows it, into docs/leaderboard.svg.

python -m perf.picture
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path("docs/leaderboard.svg")
COMMAND = ("pace", "leaderboard", "vtab-mini")


def main() -> int:
    pace = Path(sys.executable).with_name(COMMAND[0])
    coloured = os.environ | {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run([pace, *COMMAND[1:]], env=coloured, stdout=subprocess.PIPE, text=True, check=True)
    text = Text.from_ansi(done.stdout)
    width = max(map(len, text.plain.splitlines()))
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(text)
    drawn = console.export_svg(title=" ".join(COMMAND))
    # without the fonts that a reader's browser would fetch from elsewhere: its own monospace serves
    TARGET.write_text(re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL))
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
