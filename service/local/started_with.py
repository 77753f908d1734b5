"""The settings that a stack was started with; a running one takes no others."""

import hashlib
import os
from collections.abc import Mapping

_NOT_OURS = ("PACE_URL", "PACE_API_KEY", "PACE_STATE_DIR")  # of the client, and where the stack lies
_SECRETS = ("PACE_DATABASE_URL", "PACE_STORAGE", "MLFLOW_TRACKING_URI")  # may hold a password


def settings_now() -> dict[str, str]:
    """Returns name → digest of every setting in the environment: values may be secrets."""
    named = {name: value for name, value in os.environ.items() if name.startswith("PACE_") and name not in _NOT_OURS}
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        named["MLFLOW_TRACKING_URI"] = uri
    return {name: hashlib.sha256(value.encode()).hexdigest()[:16] for name, value in sorted(named.items()) if value}


def not_taken(running: Mapping[str, str]) -> list[str]:
    """Returns the environment's settings that a stack started with `running` lacks, as a person wrote them."""
    fresh = [name for name, digest in settings_now().items() if running.get(name) != digest]
    return [name if name in _SECRETS else f"{name}={os.environ[name]}" for name in fresh]
