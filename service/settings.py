"""Settings of the service, all of them from the environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the API process; each is read from `PACE_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="PACE_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    database_url: str | None = None
    """`postgresql://…`; None starts the embedded server under the state folder."""
    state_dir: Path = Path(".state")
    """Folder of everything the local stack keeps."""
    storage: str | None = None
    """fsspec root of checkpoints and adapters, such as `s3://bucket/pace`; None is `storage` in the state folder."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    trusted_proxies: str = ""
    """Addresses or networks of reverse proxies, separated by commas: what they say of where a request came from is
    believed. From anybody else it is passed over."""
    mlflow_url: str | None = None
    """Where people find the MLflow UI, for links."""
    share_mlflow: bool = False
    """Whether the stack's own MLflow listens for other machines too."""
    lease_s: float = Field(default=60.0, gt=0)
    """An attempt whose worker says nothing for this long is lost; longer than a dispatcher's restart."""
    reap_every_s: float = Field(default=2.0, gt=0)
    """Seconds between two looks for lost attempts."""
    reap_grace_s: float = Field(default=15.0, ge=0)
    """How long after a start workers have to be heard again before the first look."""
    retry_after_s: float = Field(default=2.0, ge=0, le=600)
    """Seconds before a job that broke is tried again; four times as many after each further failure, 600 at most."""
    worker_seen_s: float = Field(default=90.0, gt=0)
    """A cluster that has not asked for work for this long counts as gone."""
    dispatcher_silent_s: float = Field(default=10.0, gt=0)
    """A dispatcher that was not heard of for this long may be replaced; they speak every five seconds."""
    part_silent_s: float = Field(default=30.0, gt=0)
    """A part of the stack whose heartbeat is older counts as silent; they come every five seconds."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Of a request."""
    max_report_bytes: int = Field(default=8_000_000, ge=1_000)
    """Of a worker's lease request or report, and of a part of an upload."""
    max_tags: int = Field(default=50, ge=0)
    """Of a job."""
    max_queued: int = Field(default=10_000, ge=0)
    """Jobs queued in a project; like the next four where the project has no limit of its own."""
    max_running: int = Field(default=1_000, ge=0)
    """Jobs running in a project."""
    highest_priority: int = Field(default=80, ge=0, le=100)
    """That users may ask for; admins may go up to 100."""
    default_max_runtime_s: float = Field(default=7 * 86_400.0, gt=0, allow_inf_nan=False)
    """Of a job that does not say."""
    max_stored_bytes: int = Field(default=1_000_000_000_000, ge=0)
    """Files of a project's jobs."""
    storage_measured_every_s: float = Field(default=600.0, gt=0)
    """Seconds between two measurements of what projects store; what nobody needs any more is removed then."""
    min_free_bytes: int = Field(default=1_000_000_000, ge=0)
    """With less room in a local storage, `/readyz` says so."""
    keep_checkpoints_s: float = Field(default=7 * 86_400.0, ge=0, allow_inf_nan=False)
    """So long the newest checkpoint of a job that failed or was cancelled is kept; one that succeeded needs none."""
    keep_events_s: float = Field(default=365 * 86_400.0, gt=0, allow_inf_nan=False)
    """So long after a job ended its log lines and steps are kept; its moves, metrics and checkpoints stay with it."""
    keep_audit_s: float = Field(default=400 * 86_400.0, gt=0, allow_inf_nan=False)
    """So long an entry of the audit is kept."""
    keep_uploads_s: float = Field(default=7 * 86_400.0, gt=0, allow_inf_nan=False)
    """So long an upload of which nothing more comes can be gone on with; then it is deleted."""
    pool_size: int = Field(default=10, ge=1)
    """Database connections kept by this process; twice as many under load."""

    @property
    def storage_root(self) -> str:
        """The fsspec root with no trailing slash; a local folder as an absolute path."""
        if self.storage is None:
            return str((self.state_dir / "storage").absolute())
        return self.storage.rstrip("/") if "://" in self.storage else str(Path(self.storage).absolute())
