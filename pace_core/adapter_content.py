"""The bytes of an adapter file, found and looked at without torch: what is wrong with them is said at once."""

from pace_core import storage
from pace_core.facts import facts_of
from pace_core.spec import RunError
from pace_core.spec.text import shown

NAME = "adapter.safetensors"
_FACTS = ("class_names", "preprocessing", "spec", "weights_hash")


def reads_text(content: bytes) -> bool:
    """Tells whether an adapter answers for texts instead of images. Raises ValueError for a file that is none."""
    return "tokenizer" in facts_of(content)["preprocessing"]


def adapter_content(uri: str) -> bytes:
    """Returns the content of the adapter at a path or URL, or of the one in a run's folder.

    Raises RunError `weights_missing` where there is none or it is another kind of file.
    """
    place = shown(uri, 500)
    try:
        content = storage.read(uri)
    except IsADirectoryError:
        content = storage.read(storage.join(uri, NAME))
        place = f"{place}/{NAME}"
    except OSError as error:
        raise RunError("weights_missing", str(error)) from error
    if content is None:
        raise RunError("weights_missing", f"there is no adapter {place}")
    try:
        facts = facts_of(content)
    except ValueError as error:
        raise RunError("weights_missing", f"{place} is not an adapter: {error}") from error
    if absent := [name for name in _FACTS if name not in facts]:
        what = "a checkpoint; the adapter is written at the end" if "progress" in facts else f"without {absent[0]}"
        raise RunError("weights_missing", f"{place} is not an adapter: it is {what}")
    return content
