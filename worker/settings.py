"""What the worker's processes read from their environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PACE_", use_attribute_docstrings=True)

    ray_address: str = "auto"
    """The Ray cluster, as `ray.init` takes it."""
    slots: int | None = Field(default=None, ge=1)
    """Slots of a node without GPUs; one per CPU core where not set."""
    mlflow_url: str | None = None
    """Where people find the MLflow UI, for links; MLFLOW_TRACKING_URI where not set."""
