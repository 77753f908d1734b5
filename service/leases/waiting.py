"""Queued jobs as a claim sees them."""

from typing import NamedTuple

from service.clusters.needs import Needs

_A_DAY_COUNTS = 10
"""Points of priority that a job gains for each whole day in the queue, so that nobody waits for ever."""
_DAY_S = 86_400


class Line(NamedTuple):
    """Jobs of equal needs and owner, one after the other."""

    lane: str
    project: str
    owner: str

    @property
    def needs(self) -> Needs:
        return Needs.of_lane(self.lane)


class Waiting:
    """A queued job, as far as the choice needs to know it."""

    def __init__(
        self, id: str, lane: str, project: str, owner: str, priority: int, memory_bytes: int | None, waited_s: int
    ):
        self.id = id
        self.line = Line(lane, project, owner)
        self.of = project, owner
        self.memory_bytes = memory_bytes or 0
        self.waited_s = waited_s
        self.aged = priority + _A_DAY_COUNTS * (waited_s // _DAY_S)
        """Priority with what the waiting adds."""
