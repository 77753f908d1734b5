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


def picture(printed: str, title: str) -> str:
    """What a terminal shows of these lines, colours included, as SVG."""
    text = Text.from_ansi(printed)
    console = Console(record=True, width=max(map(len, text.plain.splitlines())), file=io.StringIO())
    console.print(text)
    drawn = console.export_svg(title=title)
    # without the fonts that a reader's browser would fetch from elsewhere: its own monospace serves
    return re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)


def main() -> int:
    pace = Path(sys.executable).with_name(COMMAND[0])
    coloured = os.environ | {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run([pace, *COMMAND[1:]], env=coloured, stdout=subprocess.PIPE, text=True, check=True)
    TARGET.write_text(picture(done.stdout, " ".join(COMMAND)), encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
