"""Placement of jobs on clusters that have their data."""

from collections.abc import Mapping


class Placement:
    """The data that a cluster has, beside those that other clusters which are there have."""

    def __init__(self, own: Mapping[str, bool] | None, others: Mapping[str, Mapping[str, bool]]) -> None:
        self._own = own
        self._others = others
        self.look_for: dict[str, None] = {}
        """Data of which the cluster has not said whether it has them, in the order in which they were needed."""

    def takes(self, path: str) -> bool:
        """Tells whether the cluster may be given a job with data at that path.

        Where it is the only one that is there, it may: its run says best what is wrong with the data.
        """
        if not path or not self._others:
            return True
        if self._own is None:  # a worker of before, which does not look
            return not any(has.get(path) is True for has in self._others.values())
        if path not in self._own:
            self.look_for[path] = None
        return self._own.get(path) is True

    def elsewhere(self, cluster: str, path: str) -> bool:
        """Tells whether another cluster that is there could be given the job."""
        return not path or self._others.get(cluster, {}).get(path) is True
