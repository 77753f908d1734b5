"""What a job needs of a slot, as the text that queued jobs are grouped by."""

import json
import math
from typing import NamedTuple


class Needs(NamedTuple):
    """Jobs of equal needs stand in one lane of the queue: what fits one of them fits all."""

    device: str
    """cpu, cuda, or auto: either."""
    memory_bytes: int
    """What a slot must have free; 0 where that is not known."""

    @property
    def lane(self) -> str:
        """As it is stored."""
        return json.dumps(self)

    @classmethod
    def of_lane(cls, lane: str) -> "Needs":
        """The needs of a stored lane."""
        return cls(*json.loads(lane))

    def fit(self, device: str, memory_bytes: int) -> bool:
        """Whether a slot of that device with that much free memory can run such a job."""
        return self.device in ("auto", device) and self.memory_bytes <= memory_bytes


def rounded(memory_bytes: float) -> int:
    """The memory rounded up to an eighth of a power of two, so that there are few lanes: 5.1 GiB becomes 5.5."""
    if memory_bytes <= 0:
        return 0
    step = 2 ** max(math.floor(math.log2(memory_bytes)) - 3, 20)
    return math.ceil(memory_bytes / step) * step
