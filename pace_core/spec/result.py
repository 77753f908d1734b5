"""The result of a finished run."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pace_core.spec.data_report import DataReport

RESULTS_VERSION = 2
"""Raised when a change of the core makes earlier results incomparable; part of every cell.

2: the default schedule and warm-up changed, and methods and FTP follow their authors' code where they did not: decay of
SSF and RLRR, COFT's bound, BOFT's factors, start and place of adapters and of NOAH's modules, a Swin's patch merging.
"""


class _Result(BaseModel):
    # Stored results are read tolerantly: a newer worker may say more than this service knows.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Metric(_Result):
    """One measured number."""

    task: str
    split: str
    """val or test."""
    metric: str
    """Such as `accuracy`, a fraction."""
    value: float
    epoch: int
    """Epochs of training behind the number; 0 is the pretrained model."""
    samples: int | None = None
    """Samples behind the number."""
    logits: int | None = None
    """How many logits the answer is the largest of; said of the tests beside the run's own."""


class Adapter(_Result):
    """The file with what was trained."""

    uri: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Provenance(_Result):
    """Facts other than the spec that a number depends on."""

    code_version: str
    results_version: int
    weights_hash: str
    data_hash: str
    precision: str
    device: str
    cpu_features: str
    """Instruction sets that change the last bits of a sum."""
    threads: int
    libraries: dict[str, str]


class RunResult(_Result):
    """The outcome of one run."""

    metrics: list[Metric]
    """Last epoch's metrics; on validation data also the best epoch's, as split `best_val`."""
    trainable_parameters: int
    """With the head."""
    adapter_parameters: int
    """Without the head."""
    seconds: float
    """From the run's start to its end, this attempt only."""
    train_seconds: float
    images_per_s: float
    peak_memory_bytes: int
    adapter: Adapter | None
    """None only when nothing was trained."""
    architecture: dict[str, Any] | None = None
    """What a method that searches has found, as its own field of that name; None for all others."""
    data: DataReport | None = None
    """What was used and passed over; None in results of before it was kept."""
    provenance: Provenance

    def value(self, split: str, metric: str = "accuracy") -> float | None:
        """Returns the metric on that split, None when it was not measured there."""
        found = [m.value for m in self.metrics if m.split == split and m.metric == metric]
        return found[0] if found else None
