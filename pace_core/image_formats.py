"""Endings of image files: what Pillow can decode here, by the endings of their names. Loads no torch."""

import shutil
from functools import cache

from PIL import Image, ImageFile

_NAMED_ONLY = frozenset({"MPEG", "WMF"})
"""Formats that Pillow can tell and not decode, beside its stubs."""


@cache
def endings() -> frozenset[str]:
    """Returns the endings, in small letters and with their dot, of the formats that can be decoded."""
    Image.init()
    decoded = {
        name
        for name, (factory, _) in Image.OPEN.items()
        if not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))
    } - _NAMED_ONLY
    if shutil.which("gs") is None:  # PostScript is Ghostscript's
        decoded -= {"EPS"}
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in decoded)
