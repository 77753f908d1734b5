"""The cell of a table: which runs may be averaged."""

import hashlib
import json
from typing import Any

from pace_core.spec.result import RESULTS_VERSION


def cell_hash(spec: dict[str, Any], data_hash: str, weights_hash: str, init_cell: str | None = None) -> str:
    """Hashes all that decides a run's expected outcome: its inputs and its spec without seed, draw and resources.

    `init_cell` is the cell of the run whose adapter `init_from` names: a source counts by what it is, not by its URI.
    """
    said = {key: value for key, value in spec.items() if key not in ("seed", "resources", "init_from")}
    said["task"] = {key: value for key, value in spec["task"].items() if key != "draw"}
    said |= {"data": data_hash, "weights": weights_hash, "results_version": RESULTS_VERSION, "init": init_cell}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
