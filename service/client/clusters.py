"""Clusters: where jobs run, and what of them takes jobs."""

import builtins
from urllib.parse import quote

from service.client.connection import Connection
from service.clusters.schemas import ClusterView, Drain, LoadView, Place, SlotView

__all__ = ["AsyncClusters", "ClusterView", "LoadView", "SlotView"]


class AsyncClusters:
    """The Ray clusters that lease jobs; for admins."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> list[ClusterView]:
        """Returns every cluster with its slots, what runs there and why one takes nothing."""
        answer = await self._connection.json("GET", "/v1/clusters")
        return [ClusterView.model_validate(cluster) for cluster in answer["data"]]

    async def load(self) -> builtins.list[LoadView]:
        """Returns how busy the slots are, by cluster and device; for everyone who may look at jobs."""
        answer = await self._connection.json("GET", "/v1/clusters/load")
        return [LoadView.model_validate(load) for load in answer["data"]]

    async def drain(
        self, name: str, *, node: str | None = None, slot: str | None = None, reason: str = "", now: bool = False
    ) -> ClusterView:
        """Lets the cluster, or a node or slot of it, take no more jobs; `now`: what runs there goes on elsewhere."""
        asked = Drain(node=node, slot=slot, reason=reason, now=now).model_dump(exclude_defaults=True)
        return ClusterView.model_validate(await self._connection.json("POST", _path(name, "drain"), body=asked))

    async def undrain(self, name: str, *, node: str | None = None, slot: str | None = None) -> ClusterView:
        """Lets it take jobs again, and ends every quarantine in it."""
        asked = Place(node=node, slot=slot).model_dump(exclude_defaults=True)
        return ClusterView.model_validate(await self._connection.json("POST", _path(name, "undrain"), body=asked))

    async def forget(self, name: str) -> None:
        """Forgets a cluster that is gone."""
        await self._connection.json("DELETE", f"/v1/clusters/{quote(name, safe='')}")


def _path(name: str, verb: str) -> str:
    return f"/v1/clusters/{quote(name, safe='')}/{verb}"
