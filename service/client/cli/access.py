"""Commands on keys, projects and the audit."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from service.audit.schemas import AuditView
from service.client.address import find_stack, is_loopback
from service.client.cli.admin import admin
from service.client.cli.output import (
    AsCsv,
    AsJson,
    ago,
    cell,
    failed,
    form,
    out,
    plain,
    print_models,
    print_table,
    print_text,
    table,
)
from service.keys.roles import Role
from service.keys.schemas import KeyView, NewKey
from service.local.ports import at, outward_address
from service.local.record import write_private
from service.projects.schemas import ProjectView

_UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}

_Id = Annotated[str, typer.Argument(metavar="KEY", help="Id such as key_01…; `pace key list` names it.")]
_Expires = Annotated[
    str | None, typer.Option(help="It stops working after this long, such as 12h, 30d or 8w; never if not given.")
]


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    key = typer.Typer(help="API keys.", no_args_is_help=True)
    for name, command in (("create", create), ("list", list_keys), ("revoke", revoke), ("rotate", rotate)):
        key.command(name)(command)
    project = typer.Typer(help="Projects: what jobs and keys belong to.", no_args_is_help=True)
    for name, command in (
        ("create", make),
        ("list", list_projects),
        ("limit", limit),
        ("archive", archive),
        ("restore", restore),
    ):
        project.command(name)(command)
    app.add_typer(key, name="key")
    app.add_typer(project, name="project")
    app.command()(audit)


def create(
    name: Annotated[str, typer.Argument(help="What to call the key, such as laptop or grace.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.USER,
    project: Annotated[str | None, typer.Option(help="The project of its jobs; your own if not given.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who owns it; its name if not given.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Of a worker's key: the cluster it leases for.")] = None,
    expires: _Expires = None,
    save: Annotated[
        Path | None, typer.Option(help="Write address and key into this file, for `pace connect` on their machine.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="With --save: the address by which they reach the service.")] = None,
) -> None:
    """Make a key and print its secret, this once; or with --save, make the file to hand to a person."""
    until = _seconds(expires)
    if save and save.exists():
        raise failed(f"{save} is there already; name another file, since a key is shown only once")
    if save and not save.parent.is_dir():
        raise failed(f"there is no folder {save.parent}")
    with admin() as client:
        made = client.keys.create(name, role, owner=owner, project=project, cluster=cluster, expires_in_s=until)
        reached_at = (url or _outward(client.address.url)).rstrip("/")
    if save is None:
        return _print_new(made)
    try:
        write_private(save, json.dumps({"url": reached_at, "key": made.secret}, indent=2) + "\n")
    except OSError as error:  # a full disk, say: the key is made, and is shown this once
        _print_new(made)
        raise failed(f"{save} cannot be written: {error.strerror}") from error
    out().print(f"{made.id}  {plain(made.name)}: {plain(save)} holds the key and the address {plain(reached_at)}")
    out().print(f"  hand the file over; on the other machine: pace connect {cell(save.name)}")
    if is_loopback(reached_at):
        print_text("the service listens on this machine alone: `pace up --host 0.0.0.0` lets others in")


def _outward(url: str) -> str:
    """Returns the address by which other machines reach the stack that runs here; `url` where it is no such stack's."""
    folder = find_stack()
    record = folder.read() if folder.running() else None
    if record is None or record.url != url or record.host not in ("0.0.0.0", "::"):
        return url
    return at(outward_address(), int(url.rpartition(":")[2]))


def list_keys(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    role: Annotated[Role | None, typer.Option(help="Only keys of this role.")] = None,
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Also those that no longer work.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List keys, newest first."""
    shape = form(as_json, as_csv)
    with admin() as client:
        found = client.keys.list(owner=owner, role=role, project=project, all=all)
    print_models(shape, KeyView, found, lambda: _print_keys(found))


def _print_keys(found: list[KeyView]) -> None:
    shown = table("key", "~name", "~owner", "role", "~project", "~cluster", "made", "last used", "expires", "revoked")
    for key in found:
        expires = f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
        shown.add_row(
            key.id,
            cell(key.name),
            cell(key.owner),
            key.role,
            cell(key.project or ""),
            cell(key.cluster or ""),
            ago(key.created_at),
            ago(key.last_used_at) or "never",
            expires,
            ago(key.revoked_at),
        )
    print_table(shown)


def revoke(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Ids; `pace key list` names them.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Every key of this owner instead.")] = None,
) -> None:
    """Make keys useless at once, also for what is open with them."""
    if bool(keys) == bool(owner):
        raise failed("name either keys by their ids, or --owner")
    with admin() as client:
        revoked = client.keys.revoke_owner(owner) if owner else [client.keys.revoke(key).id for key in keys or []]
    for key in revoked:
        out().print(f"{key}  revoked")
    if not revoked:
        out().print("that owner has no active keys")


def rotate(
    key: _Id,
    overlap: Annotated[
        str, typer.Option(help="How long the old key still works, such as 10m, 12h, 1d; 0 ends it.")
    ] = "1d",
    expires: _Expires = None,
) -> None:
    """Make a key in the place of another, and print its secret, this once."""
    with admin() as client:
        made = client.keys.rotate(key, _seconds(overlap) or 0.0, _seconds(expires))
    _print_new(made)
    out().print(f"{key} works for {overlap} more" if _seconds(overlap) else f"{key} no longer works")


def make(name: Annotated[str, typer.Argument()]) -> None:
    """Make a project."""
    with admin() as client:
        out().print(f"{plain(client.projects.create(name).name)}  made")


def list_projects(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the projects that your key sees."""
    shape = form(as_json, as_csv)
    with admin() as client:
        found = client.projects.list()
    print_models(shape, ProjectView, found, lambda: _print_projects(found))


def _print_projects(found: list[ProjectView]) -> None:
    shown = table("~project", "made", "archived")
    for project in found:
        shown.add_row(cell(project.name), ago(project.created_at), ago(project.archived_at))
    print_table(shown)


def limit(
    name: Annotated[str, typer.Argument()],
    queued: Annotated[int | None, typer.Option(min=0, help="The most jobs that may be queued.")] = None,
    running: Annotated[int | None, typer.Option(min=0, help="The most jobs that may run.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="Highest priority for users.")] = None,
    runtime: Annotated[str | None, typer.Option(help="For jobs that name none, such as 12h or 7d.")] = None,
    stored_gb: Annotated[float | None, typer.Option(min=0, help="The most that its jobs may store, in GB.")] = None,
) -> None:
    """Give a project limits of its own."""
    given = {
        "max_queued": queued,
        "max_running": running,
        "highest_priority": priority,
        "default_max_runtime_s": _seconds(runtime),
        "max_stored_bytes": None if stored_gb is None else int(stored_gb * 1e9),
    }
    chosen = {field: value for field, value in given.items() if value is not None}
    if not chosen:
        raise failed("name at least one limit, such as --running 4")
    with admin() as client:
        client.projects.limit(name, **chosen)
    out().print(f"{plain(name)}  " + ", ".join(f"{field} {value:g}" for field, value in chosen.items()))


def archive(name: Annotated[str, typer.Argument()]) -> None:
    """Let a project take no more jobs and keys; what it has stays."""
    with admin() as client:
        out().print(f"{plain(client.projects.archive(name).name)}  archived")


def restore(name: Annotated[str, typer.Argument()]) -> None:
    """Let an archived project take jobs and keys again."""
    with admin() as client:
        out().print(f"{plain(client.projects.restore(name).name)}  restored")


def audit(
    actor: Annotated[str | None, typer.Option(help="Only what this owner's keys did.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as key, or key.revoke.")] = None,
    target: Annotated[str | None, typer.Option(help="Id or name of what was changed.")] = None,
    project: Annotated[str | None, typer.Option(help="Only in this project.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show who changed what, newest first."""
    shape = form(as_json, as_csv)
    with admin() as client:
        found = client.audit.list(actor=actor, action=action, target=target, project=project, limit=limit)
    print_models(shape, AuditView, found, lambda: _print_audit(found))


def _print_audit(found: list[AuditView]) -> None:
    shown = table("at (UTC)", "~who", "role", "from", "did", "to", "~project", "|detail")
    for entry in found:
        detail = ", ".join(f"{name}={value}" for name, value in entry.detail.items())
        shown.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            cell(entry.actor),
            entry.role,
            cell(entry.address or ""),
            entry.action,
            cell(entry.target),
            cell(entry.project or ""),
            cell(detail),
        )
    print_table(shown)


def _print_new(key: NewKey) -> None:
    console = out()
    where = f"project {key.project}" if key.project else f"cluster {key.cluster}" if key.cluster else "all projects"
    until = f", expires {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
    console.print(f"{key.id}  {plain(key.name)}: role {key.role}, {plain(where)}, owner {plain(key.owner)}{until}")
    console.print(f"[bold]{key.secret}[/]  (shown this once; set it as PACE_API_KEY)")


def _seconds(text: str | None) -> float | None:
    if text is None or text == "0":
        return None
    said = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if said is None:
        raise failed(f"{text!r} is not a time; write it as 10m, 12h, 30d or 8w")
    return int(said[1]) * _UNITS[said[2]]
