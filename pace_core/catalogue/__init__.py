"""Names that a spec can use, as JSON that loads without torch; `python -m pace_core.catalogue` writes it."""
