"""Commands on workers: what runs where, and what takes no jobs."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from service.client.cli.admin import admin
from service.client.cli.output import (
    AsCsv,
    AsJson,
    Form,
    ago,
    cell,
    failed,
    form,
    out,
    plain,
    print_csv,
    print_json,
    print_table,
    table,
)
from service.clusters.schemas import ClosureView, ClusterView, SlotView

_LOOK_S = 1.0

_Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A cluster, a node or a slot; or CLUSTER/NODE, CLUSTER/SLOT.")
]


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    workers = typer.Typer(help="Where jobs run: list what takes jobs and what does not, drain and undrain it.")
    workers.callback(invoke_without_command=True)(list_workers)
    for name, command in (("drain", drain), ("undrain", undrain), ("forget", forget)):
        workers.command(name)(command)
    app.add_typer(workers, name="workers")


def list_workers(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List every place that runs jobs: what it runs, what it offers, and why one takes nothing."""
    if context.invoked_subcommand:
        return
    shape = form(as_json, as_csv)
    with admin() as client:
        clusters = client.clusters.list()
    if shape is Form.JSON:
        return print_json([cluster.model_dump(mode="json") for cluster in clusters])
    if shape is Form.CSV:
        return print_csv(_records(clusters), _COLUMNS)
    if not clusters:
        out().print("no worker has connected yet; start one with `pace up` or `python -m worker dispatch`")
    for cluster in clusters:
        gone = "" if cluster.there else ", gone: `pace workers forget` forgets it"
        seen = f"asked for work {ago(cluster.seen_at)}{gone}; code {cell(cluster.code_version)}"
        closed = f"; {cell(_why(cluster.closed))}" if cluster.closed else ""
        out().print(f"[bold]{cell(cluster.name)}[/]  {seen}{closed}")
        shown = table("~place", "~node", "device", ">GiB free", "|labels", "runs", "|takes nothing because")
        for slot in cluster.slots:
            labels = ", ".join(f"{label}={value}" for label, value in sorted(slot.labels.items()))
            free = f"{slot.memory_bytes / 2**30:.1f}"
            why = _why(slot.closed) if slot.closed else slot.trouble
            shown.add_row(cell(slot.name), cell(slot.node), slot.device, free, cell(labels), slot.job or "", cell(why))
        print_table(shown)


_PLACE = ("place", "node", "device", "memory_bytes", "labels", "job", "takes_nothing_because")
_COLUMNS = ("cluster", "there", "seen_at", *_PLACE)
"""Of a place in CSV."""


def _records(clusters: Sequence[ClusterView]) -> list[dict[str, object]]:
    return [
        {
            "cluster": cluster.name,
            "there": cluster.there,
            "seen_at": cluster.seen_at.isoformat(),
            "place": slot.name,
            "node": slot.node,
            "device": slot.device,
            "memory_bytes": slot.memory_bytes,
            "labels": " ".join(f"{label}={value}" for label, value in sorted(slot.labels.items())),
            "job": slot.job,
            "takes_nothing_because": _why(slot.closed) if slot.closed else slot.trouble,
        }
        for cluster in clusters
        for slot in cluster.slots
    ]


def drain(
    name: _Name,
    reason: Annotated[str, typer.Option(help="Shown to those whose jobs wait.")] = "",
    now: Annotated[
        bool, typer.Option("--now", help="What runs there stops at a checkpoint and goes on elsewhere.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing runs there any more.")] = False,
) -> None:
    """Let a cluster, a node or a slot take no more jobs; what runs there comes to its end."""
    with admin() as client:
        cluster, node, slot = _find(client.clusters.list(), name)
        view = client.clusters.drain(cluster, node=node, slot=slot, reason=reason, now=now)
        at_work = _at_work(view, node, slot)
        while wait and at_work:
            time.sleep(_LOOK_S)
            now_there = [seen for seen in client.clusters.list() if seen.name == cluster]
            at_work = [job for seen in now_there for job in _at_work(seen, node, slot)]
    out().print(f"{plain(name)}  drained; " + (f"still runs {', '.join(at_work)}" if at_work else "nothing runs there"))


def undrain(name: _Name) -> None:
    """Let a cluster, a node or a slot take jobs again; also ends a quarantine."""
    with admin() as client:
        cluster, node, slot = _find(client.clusters.list(), name)
        view = client.clusters.undrain(cluster, node=node, slot=slot)
    closed = [place for place in _within(view, node, slot) if place.closed]
    out().print(f"{plain(name)}  takes jobs" if not closed else f"{plain(name)}  still {plain(_why(closed[0].closed))}")


def forget(name: Annotated[str, typer.Argument(metavar="CLUSTER")]) -> None:
    """Forget a cluster that is gone."""
    with admin() as client:
        client.clusters.forget(name)
    out().print(f"{plain(name)}  forgotten")


def _find(clusters: list[ClusterView], name: str) -> tuple[str, str | None, str | None]:
    """Cluster, node and slot of that name; the whole cluster where node and slot are None."""
    found: set[tuple[str, str | None, str | None]] = set()
    for cluster in clusters:
        if name == cluster.name:
            return cluster.name, None, None
        for slot in cluster.slots:
            if name in (slot.node, f"{cluster.name}/{slot.node}"):
                found.add((cluster.name, slot.node, None))
            elif name in (slot.name, f"{cluster.name}/{slot.name}"):
                found.add((cluster.name, slot.node, slot.name))
    if len(found) > 1:
        names = ", ".join(sorted(f"{cluster}/{slot or node}" for cluster, node, slot in found))
        raise failed(f"{name!r} is the name of several; say which: {names}")
    if not found:
        raise failed(f"there is no cluster, node or slot {name!r}; `pace workers` lists them")
    return found.pop()


def _within(cluster: ClusterView, node: str | None, slot: str | None) -> list[SlotView]:
    return [place for place in cluster.slots if node in (None, place.node) and slot in (None, place.name)]


def _at_work(cluster: ClusterView, node: str | None, slot: str | None) -> list[str]:
    return [place.job for place in _within(cluster, node, slot) if place.job]


def _why(closure: ClosureView | None) -> str:
    if closure is None:
        return ""
    by = f" by {closure.owner}" if closure.owner else ""
    until = f" until {closure.until:%H:%M:%S} UTC" if closure.until else ""
    return f"{closure.kind}{by}{until}" + (f": {closure.reason}" if closure.reason else "")
