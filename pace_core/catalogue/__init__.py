"""What can be named in a spec, as JSON that loads without torch; `python -m pace_core.catalogue` writes it."""
