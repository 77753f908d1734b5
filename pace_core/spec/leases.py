"""The two calls in which dispatcher and service meet: leases and reports."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pace_core.spec.events import Directive, Event

Name = Annotated[str, Field(max_length=300)]
"""Of slots, nodes, versions."""
DataPath = Annotated[str, Field(max_length=4_096)]
"""Absolute path of a task's data, as its spec has it; or `benchmark:NAME`: wherever a worker has been told that these
lie."""
BENCHMARK_DATA = "benchmark:"

PROTOCOL = 1
"""Version of what dispatcher and service say to each other. It is raised where one side could no longer understand the
other; a field that the other side may pass over does not raise it."""

# Read tolerantly in both directions: the one that was updated first says more than the other knows.
_READ = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Slot(BaseModel):
    """A place that runs one job at a time: a GPU, or a share of a node's CPUs."""

    model_config = _READ

    name: Name
    device: Literal["cpu", "cuda"]
    memory_bytes: int = Field(ge=0, lt=2**63, strict=True)
    """Memory free for a job now: the GPU's, or the node's for a CPU slot."""
    node_bytes: int | None = Field(default=None, ge=0, lt=2**63, strict=True)
    """Of a CPU slot: what would be free on its node without the runs of this cluster; None where it is not known."""
    node: Name = ""
    labels: dict[Name, Name] = Field(default_factory=dict, max_length=50)  # a default is copied for each slot
    """What a job can require: of the node, such as `gpu`, and of the whole cluster."""
    trouble: Annotated[str, Field(max_length=1_000)] = ""
    """Why it takes nothing now though nothing runs in it; empty where it does."""


class Holding(BaseModel):
    """An attempt that an adopted actor still runs."""

    model_config = _READ

    job: Name
    attempt: int = Field(ge=1, lt=2**31, strict=True)
    slot: Name


class Join(BaseModel):
    """A dispatcher asks to serve its key's cluster; said again every few seconds, for as long as it does."""

    model_config = _READ

    dispatcher: Annotated[str, Field(min_length=1, max_length=300)]
    """Id of this start of it."""
    code_version: Name
    replaces: Name = ""
    """The dispatcher that this one knows to be dead, so that nobody need wait until it counts as silent."""


class Joined(BaseModel):
    """The dispatcher serves the cluster."""

    model_config = _READ

    cluster: str
    namespace: str
    """Of Ray: where the actors of this cluster and this installation are, and no others."""
    proof: str
    """fsspec URL of a file of the service's storage, which a node copies to show that it reaches it."""


class Leave(BaseModel):
    """A dispatcher says that it ends: another one may take its place at once."""

    model_config = _READ

    dispatcher: Name


class Proof(BaseModel):
    """A node has copied the file of `Joined.proof` to `copy_of(proof, node)`."""

    model_config = _READ

    node: Name


def copy_of(proof: str, node: str) -> str:
    """Returns the URL where a node writes its copy, whatever it is called."""
    return f"{proof}-{hashlib.sha256(node.encode('utf-8', 'replace')).hexdigest()[:16]}"


class LeaseRequest(BaseModel):
    """Request for work for the slots that are free now."""

    model_config = _READ

    protocol: int = Field(default=PROTOCOL, strict=True)
    """Another number than the service's is refused before anything is leased."""
    dispatcher: Name
    """Id of this start of the cluster's one dispatcher. Which cluster it is, the key says."""
    slots: list[Slot] = Field(max_length=10_000)
    """Free slots; may be empty, to announce the cluster only."""
    all_slots: list[Slot] = Field(max_length=10_000)
    """Every slot of the cluster, busy ones too: what could run here at all."""
    holding: list[Holding] = Field(default=[], max_length=10_000)
    """Attempts that run here already; the answer's `lost` names those of them that were fenced meanwhile."""
    paths: dict[DataPath, bool] | None = Field(default=None, max_length=10_000)
    """Whether this cluster's nodes have these data and may read them; None from a worker that does not look."""
    code_version: Name
    wait_s: float = Field(default=20.0, ge=0, le=60, strict=True)
    """How long to hold the request open while there is no work."""


class Upload(BaseModel):
    """An uploaded data set of the job's project."""

    model_config = _READ

    id: str = Field(pattern=r"^ds_[0-9a-z]+$")
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the archive."""
    parts: list[str]
    """fsspec URLs of its parts, in their order."""


class Lease(BaseModel):
    """One attempt of one job, for one slot."""

    model_config = _READ

    job: str
    attempt: int
    slot: str
    token: str
    """Random; every report of this attempt must show it."""
    kind: Literal["run"] = "run"
    spec: dict[str, Any]
    """The resolved RunSpec."""
    init_from: str | None = None
    """fsspec URL of the adapter of the job that the spec's `init_from` names."""
    upload: Upload | None = None
    """The data set that the spec's `task.dataset` names."""
    folder: str
    """fsspec URL of this attempt's own folder."""
    resume_from: list[str]
    """Folders of earlier attempts, newest first; the first with a whole checkpoint is continued from."""
    max_runtime_s: float | None
    """Seconds of training time left to the job, over all attempts; None is unlimited."""


class LeaseResponse(BaseModel):
    model_config = _READ

    leases: list[Lease]
    lost: list[Holding]
    """Of `holding`: attempts that are no longer current; their actors must be stopped and say nothing more."""
    look_for: list[DataPath] = Field(default=[], max_length=10_000)
    """Data of queued jobs: the next request says whether they are there."""
    lease_s: float
    """A lease not renewed by a report for this long is lost."""


class Report(BaseModel):
    """New events of one attempt, oldest first; an empty report renews the lease."""

    model_config = _READ

    token: Name
    """The lease's."""
    events: list[Event] = Field(max_length=10_000)


class ReportResponse(BaseModel):
    model_config = _READ

    acknowledged: int
    """Highest seq up to which every event is stored; the actor may forget those."""
    directive: Directive


class Heartbeat(BaseModel):
    """A part of the stack says how it is; `/readyz` shows the newest one of each part."""

    model_config = _READ

    part: Literal["dispatcher", "ray", "studies", "mlflow", "tracking"]
    ok: bool
    detail: Annotated[str, Field(max_length=1_000)] = ""
