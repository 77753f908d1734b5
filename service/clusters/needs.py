"""Needs of a job of its slot, as the text that queued jobs are grouped by."""

import json
import math
from functools import lru_cache
from typing import NamedTuple

from pace_core.spec import RunSpec, find_task
from pace_core.spec.leases import BENCHMARK_DATA, Slot
from pace_core.spec.run_spec import Task
from pace_core.spec.spec_file import on_disk

LONGEST_LANE = 2_000
"""Bytes; an entry of a Postgres index has room for 2,704, the project and the owner among them."""


class Needs(NamedTuple):
    """The needs of a job; jobs of equal needs share a lane of the queue, since what fits one of them fits all."""

    device: str
    """cpu, cuda, or auto: either."""
    memory_bytes: int
    """What a slot must have free; 0 where that is not known."""
    requires: tuple[tuple[str, str], ...] = ()
    """Labels that a slot must have, with their values, in the order of their names."""
    suite: str = ""
    """The suite of which only so many jobs may run at a time: its jobs wait in lanes of their own."""
    data: str = ""
    """Absolute path of the task's data on the worker's disks, or `benchmark:NAME` where the worker was told where they
    lie; empty where every worker reaches them."""

    @classmethod
    def of(cls, spec: RunSpec, estimated_bytes: float | None, suite: str = "") -> "Needs":
        """Returns the needs of a run of that spec, whose memory was estimated as that much."""
        resources = spec.resources
        asked = resources.memory_gib
        memory = estimated_bytes if asked is None else asked * 2**30
        requires = tuple(sorted(resources.requires.items()))
        return cls(resources.device, 0 if memory is None else rounded(memory), requires, suite, _data(spec.task))

    @property
    def lane(self) -> str:
        """As it is stored."""
        suite = [self.suite] if self.suite else []
        data = [{"data": self.data}] if self.data else []
        return json.dumps([self.device, self.memory_bytes, *self.requires, *data, *suite])

    @classmethod
    @lru_cache(maxsize=16_384)  # a claim looks at every lane several times
    def of_lane(cls, lane: str) -> "Needs":
        """Returns the needs of a stored lane."""
        device, memory_bytes, *more = json.loads(lane)
        suite = more.pop() if more and isinstance(more[-1], str) else ""
        data = more.pop()["data"] if more and isinstance(more[-1], dict) else ""
        return cls(device, memory_bytes, tuple((label, value) for label, value in more), suite, data)

    def fit(self, slot: Slot, memory_bytes: int | None = None) -> bool:
        """Tells whether the slot can run such a job. memory_bytes: free memory, where not what the slot announced."""
        free = slot.memory_bytes if memory_bytes is None else memory_bytes
        return (
            self.device in ("auto", slot.device)
            and self.memory_bytes <= free
            and all(slot.labels.get(label) == value for label, value in self.requires)
        )


def _data(task: Task) -> str:
    path = task.params.get("path")
    if isinstance(path, str):
        return on_disk(path) if path.startswith("/") else ""
    found = find_task(task.name)
    return f"{BENCHMARK_DATA}{found[0].data}" if found and found[0].data else ""


def rounded(memory_bytes: float) -> int:
    """Rounds memory up to an eighth of a power of two, so that there are few lanes: 5.1 GiB becomes 5.5."""
    if memory_bytes <= 0:
        return 0
    step = 2 ** max(math.floor(math.log2(memory_bytes)) - 3, 20)
    return math.ceil(memory_bytes / step) * step
