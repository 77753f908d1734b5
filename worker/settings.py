"""Settings of the worker's processes, from their environment."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pace_core.urls import is_url, parse, split_roots


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PACE_", use_attribute_docstrings=True)

    ray_address: str = "auto"
    """The Ray cluster, as `ray.init` takes it."""
    slots: int | None = Field(default=None, ge=1)
    """Slots of a node without GPUs; one per CPU core where not set."""
    mlflow_url: str | None = None
    """Where people find the MLflow UI, for links; MLFLOW_TRACKING_URI where not set."""
    keep_mlflow_adapters_s: float = Field(default=30 * 86_400.0, ge=0, allow_inf_nan=False)
    """So long after its end a run in MLflow keeps its copy of the adapter; the service keeps its own with the job."""
    labels: str = ""
    """What jobs can require of every slot of this cluster, such as `room=3,disk=nvme`; a node's own come from Ray
    (`ray start --labels`), `gpu` among them."""
    data_roots: str = "~"
    """Folders on the nodes, and URLs such as `s3://bucket/data`, below which a spec's data may lie, separated by `:`;
    the home of the worker's user where not set. What lies below a name that begins with a dot is closed."""
    weights_roots: str = ""
    """The same for a spec's files of weights; `data_roots` where not set."""
    state_dir: Path | None = None
    """The local stack's folder, which holds keys; closed to specs."""
    storage: str = ""
    """The service's storage, as a node of this cluster sees it; closed to specs where it is a folder."""

    @property
    def cluster_labels(self) -> dict[str, str]:
        """`labels` as a mapping. Raises ValueError where they cannot be read."""
        found: dict[str, str] = {}
        for part in filter(None, self.labels.split(",")):
            name, equals, value = (text.strip() for text in part.partition("="))
            if not (name and equals and value):
                raise ValueError(f"PACE_LABELS: {part!r} is not a label; write labels as room=3,disk=nvme")
            found[name] = value
        return found

    def roots(self, storage: str) -> dict[str, list[str]]:
        """Returns what `pace_core.roots.roots` takes, as plain data. Raises ValueError for a URL that cannot be a root.

        `storage`: where the service says that it keeps files of jobs, which are of all projects.
        """
        data = split_roots(self.data_roots, os.pathsep)
        for root in filter(is_url, data):
            try:
                parse(root)
            except ValueError as error:
                raise ValueError(f"PACE_DATA_ROOTS: {root} {error}") from None
        places = [os.path.abspath(self.state_dir) if self.state_dir else "", _place(self.storage), _place(storage)]
        closed = list(dict.fromkeys(place for place in places if place))
        return {"data": data, "weights": split_roots(self.weights_roots, os.pathsep) or data, "closed": closed}


def _place(storage: str) -> str:
    """Returns the storage's folder where it is on this machine's disks, or its URL."""
    scheme, found, path = storage.rpartition("://")
    return storage if found and scheme not in ("file", "local") else os.path.abspath(path) if path else ""
