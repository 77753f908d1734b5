"""Which capital letter is this? One of twenty, in one of the fonts that ship with matplotlib, dark on bright.

Asks for shape across typefaces (serif, sans, monospaced, bold, italic), sizes, places and small turns, among strokes.
Letters that differ from another by a stroke or a turn (I, M, O, Q, U, X) are left out.
"""

import math
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = tuple("ABCDEFGHJKLNPRSTVWYZ")

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmr10",
    "cmb10",
    "cmss10",
    "cmtt10",
)


@cache
def stencil(font: str, letter: str) -> NDArray[np.float64]:
    """Returns the letter 48 pixels high, cut to its ink, values in 0..1."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    face = ImageFont.truetype(path, 96, layout_engine=ImageFont.Layout.BASIC)
    sheet = Image.new("L", (192, 192))
    ImageDraw.Draw(sheet).text((48, 32), letter, fill=255, font=face)
    inked = sheet.crop(sheet.getbbox())
    width = max(1, round(inked.width * 48 / inked.height))
    return np.asarray(inked.resize((width, 48), Image.Resampling.BOX), dtype=np.float64) / 255


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one letter of that class in a cluttered picture."""
    ink, ground = sorted(canvas.contrast_pair(0.4, rng), key=np.mean)
    picture = canvas.backdrop(ground, 0.12, rng)
    canvas.strokes(picture, int(rng.integers(1, 3)), rng, lambda: np.clip(ink + rng.normal(0, 0.15, 3), 0, 1))
    shape = stencil(FONTS[rng.integers(len(FONTS))], CLASS_NAMES[label])
    height = rng.uniform(28, 40)
    margin = height * 0.58
    patch = canvas.whole(picture)
    x, y = rng.uniform(margin, canvas.SIZE - margin, 2)
    u, v = patch.frame(x, y, math.radians(rng.uniform(-15, 15)))
    patch.paint(canvas.sample(shape, u * 48 / height, v * 48 / height), ink)
    return canvas.with_noise(picture, 0.03, rng)


TASK = Task(
    name="glyphs",
    title="Glyphs",
    class_names=CLASS_NAMES,
    draw=draw,
)
