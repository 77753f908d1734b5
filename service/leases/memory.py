"""Memory of a cluster's nodes, which their CPU slots share."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pace_core.spec.leases import Slot


class NodeMemory:
    """Memory that the nodes have, and what of it live attempts were promised, whether they use it yet or not."""

    def __init__(self, slots: Sequence[Slot], promised: Iterable[tuple[str, int]]) -> None:
        """slots: all of the cluster. promised: bytes by node, of each node where something runs."""
        self._whole: defaultdict[str, int] = defaultdict(int)
        for slot in slots:
            if slot.device == "cpu":
                whole = slot.memory_bytes if slot.node_bytes is None else slot.node_bytes
                self._whole[slot.node] = max(self._whole[slot.node], whole)
        self._promised: Counter[str] = Counter({node: int(used) for node, used in promised})
        self.at_work = frozenset(self._promised)
        """Nodes on which something runs."""

    def whole(self, slot: Slot) -> int:
        """Returns the bytes for a job in that slot when nothing else runs on its node."""
        return self._whole[slot.node] if slot.device == "cpu" else slot.memory_bytes

    def free(self, slot: Slot) -> int:
        """Returns the bytes for a job in that slot now.

        A run may use more than it was promised, or not have come to use it yet: the less of both is there for another.
        """
        return min(slot.memory_bytes, self.left(slot.node)) if slot.device == "cpu" else slot.memory_bytes

    def left(self, node: str) -> int:
        """Returns the bytes of a node that were promised to nobody."""
        return self._whole[node] - self._promised[node]

    def take(self, slot: Slot, memory_bytes: int) -> None:
        """Promises the bytes to a job in that slot."""
        if slot.device == "cpu":
            self._promised[slot.node] += memory_bytes
