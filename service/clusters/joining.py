"""One dispatcher serves a cluster, and its nodes prove that they reach the storage."""

import asyncio
import hashlib
import secrets
from typing import Any, NamedTuple, cast

from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec.leases import Join, Joined, copy_of
from service.clusters.tables import Cluster, Installation
from service.db import Database
from service.problems import ClusterTaken, StorageUnreachable, Unavailable
from service.settings import Settings

_ADMIT = text("""
    INSERT INTO clusters (name, generation, slots, data, code_version, dispatcher, proof)
    VALUES (:cluster, 0, coalesce(CAST(:slots AS jsonb), '[]'), coalesce(CAST(:data AS jsonb), '{}'), :code_version,
            :dispatcher, :proof)
    ON CONFLICT (name) DO UPDATE SET
        dispatcher = excluded.dispatcher, heard_at = now(), code_version = excluded.code_version,
        proof = coalesce(nullif(clusters.proof, ''), excluded.proof),
        slots = coalesce(CAST(:slots AS jsonb), clusters.slots),
        data = coalesce(CAST(:data AS jsonb), clusters.data),
        generation = clusters.generation + CASE WHEN CAST(:slots AS jsonb) IS NULL THEN 0 ELSE 1 END,
        seen_at = CASE WHEN CAST(:slots AS jsonb) IS NULL THEN clusters.seen_at ELSE now() END
    WHERE clusters.dispatcher IN ('', :dispatcher, :replaces)
        OR clusters.heard_at < now() - make_interval(secs => :silent_s)
    RETURNING proof, generation
""")


async def join(database: Database, settings: Settings, cluster: str, asked: Join) -> Joined:
    """Lets the dispatcher serve the cluster. Raises ClusterTaken while another one does."""
    async with database.transaction() as session:
        proof, _ = await admit(
            session, settings, cluster, asked.dispatcher, asked.code_version, replaces=asked.replaces
        )
        installation = await _installation(session)
    joined = Joined(
        cluster=cluster,
        namespace=f"pace-{_digest(f'{installation}/{cluster}')}",
        proof=f"{settings.storage_root}/proofs/{_digest(installation)}-{proof}",
    )
    await asyncio.to_thread(_write, settings.storage_root, joined.proof, proof)
    return joined


async def leave(session: AsyncSession, cluster: str, dispatcher: str) -> None:
    """Lets another dispatcher take the place of this one at once."""
    served = (Cluster.name == cluster, Cluster.dispatcher == dispatcher)
    await session.execute(update(Cluster).where(*served).values(dispatcher=""))


class Announced(NamedTuple):
    """The holdings that a cluster names in a lease request, as JSON."""

    slots: str
    data: str


async def admit(
    session: AsyncSession,
    settings: Settings,
    cluster: str,
    dispatcher: str,
    code_version: str,
    announced: Announced | None = None,
    replaces: str = "",
) -> tuple[str, int]:
    """Notes that this dispatcher serves the cluster now, and what it announced, which begins a new generation. Returns
    the name of the proof for its nodes, and the cluster's generation.

    Raises ClusterTaken where another one was heard of lately.
    """
    said: dict[str, Any] = {
        "cluster": cluster,
        "dispatcher": dispatcher,
        "replaces": replaces,
        "code_version": code_version,
        "slots": announced and announced.slots,
        "data": announced and announced.data,
        "proof": secrets.token_hex(16),
        "silent_s": settings.dispatcher_silent_s,
    }
    admitted = await session.execute(_ADMIT, said)
    taken = admitted.one_or_none()
    if taken is not None:
        return taken.proof, taken.generation
    age = func.extract("epoch", func.now() - Cluster.heard_at)
    held = (await session.execute(select(Cluster.dispatcher, age).where(Cluster.name == cluster))).one()
    raise ClusterTaken(
        f"cluster {cluster} is served by another dispatcher, {held[0]}, heard of {float(held[1]):.0f} s ago. End that "
        "one, or give this one a worker's key of a cluster of its own (`pace key create NAME --role worker --cluster "
        f"NAME`). It takes over once the other has been silent for {settings.dispatcher_silent_s:g} s",
        retry_after_s=2,
        dispatcher=held[0],
    )


async def check_proof(database: Database, settings: Settings, cluster: str, node: str) -> None:
    """Looks for the copy that the node made. Raises StorageUnreachable where it is not in the service's storage."""
    async with database.transaction() as session:
        proof = (await session.execute(select(Cluster.proof).where(Cluster.name == cluster))).scalar_one_or_none()
        installation = await _installation(session)
    url = copy_of(f"{settings.storage_root}/proofs/{_digest(installation)}-{proof}", node)
    if not proof or await asyncio.to_thread(_take, url) != proof:
        raise StorageUnreachable(
            f"what node {node} wrote to {settings.storage_root} is not in the service's storage: the folder of that "
            "name on the node is another one. Mount the service's folder there, or set PACE_STORAGE of the service to "
            "a storage that every node reaches, such as s3://bucket/pace"
        )


def _write(root: str, url: str, proof: str) -> None:
    try:
        filesystem, path = cast(tuple[Any, str], url_to_fs(url))
        if filesystem.exists(path):
            return
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(path, proof.encode())
    except Exception as error:  # each kind of storage has its own
        raise Unavailable(f"the service cannot write its storage {root}: {error}", retry_after_s=5) from error


def _take(url: str) -> str | None:
    try:
        filesystem, path = cast(tuple[Any, str], url_to_fs(url))
        content = bytes(filesystem.cat_file(path, end=100)).decode("ascii", "replace")
        filesystem.rm_file(path)
    except Exception:  # whatever it is, the node's copy is not here
        return None
    return content


async def _installation(session: AsyncSession) -> str:
    made = insert(Installation).values(one=True, id=secrets.token_hex(16)).on_conflict_do_nothing()
    await session.execute(made)
    return (await session.execute(select(Installation.id))).scalar_one()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
