"""`pace up`, `down`, `status`, `tracking rebuild` and `train`: what runs on this machine."""

import importlib.util
import os
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from service.client import Client, NoService
from service.client.address import find_address, state_folder
from service.client.cli.output import ago, err, out, plain, print_table, table
from service.local.identity import alive
from service.local.readiness import wait_ready
from service.local.record import Folder

_STYLES = {"ok": "green", "failing": "red", "silent": "red", "unknown": "yellow"}


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)
    tracking = typer.Typer(help="The MLflow side.", no_args_is_help=True)
    tracking.command("rebuild")(rebuild)
    tracking.callback()(lambda: None)
    app.add_typer(tracking, name="tracking")


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the API answers.")] = False,
    wait_ready: Annotated[bool, typer.Option(help="With --detach: return when every part is ready.")] = False,
) -> None:
    """Start the service on this machine: Postgres, API, Ray, dispatcher, tracking, MLflow."""
    flags = (["--detach"] if detach or wait_ready else []) + (["--wait-ready"] if wait_ready else [])
    _become("service.local", "up", *flags, needs=("sqlalchemy", "uvicorn"), extra="all")


def down() -> None:
    """Stop what `pace up` started; the data stay."""
    _become("service.local", "down", needs=("sqlalchemy",), extra="all")


def status(
    wait: Annotated[bool, typer.Option("--wait", help="Return when every part is ready.")] = False,
) -> None:
    """Show the stack of this machine and how each part is."""
    folder = Folder(state_folder())
    record = folder.read() if folder.running() else None
    if wait:
        url, since = (record.url, record.started_at) if record else (find_address().url, datetime.fromtimestamp(0, UTC))
        wait_ready(url, since, out().print)
    if record:
        shown = table("process", "state", ">pid", ">restarts", "log")
        for name, part in record.parts.items():
            here = part.process is not None and alive(part.process)
            state = "[green]running[/]" if here else "[red]ended[/]"
            pid = str(part.process.pid) if part.process else ""
            shown.add_row(name, state, pid, str(part.restarts), plain(part.log))
        print_table(shown)
    with Client() as client:
        ready = client.ready()
        url, mlflow_url = client.address.url, client.address.mlflow_url
    parts = table("part", "state", "heard of", "detail")
    for name, part in ready.parts.items():
        parts.add_row(name, f"[{_STYLES.get(part.status, 'yellow')}]{part.status}[/]", ago(part.at), plain(part.detail))
    print_table(parts)
    lines = [("key", plain(folder.client) if record else "PACE_API_KEY"), ("API docs", f"{url}/docs")]
    lines += [("MLflow", mlflow_url)] if mlflow_url else []
    lines += [("stop", "pace down, or make down")] if record else []
    for name, value in lines:
        out().print(f"{name:9} {value}")


def train(context: typer.Context) -> None:
    """Run a spec here and now, without any service: `pace train spec.yaml`."""
    _become("pace_core", "train", *context.args, needs=("torch", "timm"), extra="core")


def rebuild() -> None:
    """Fill MLflow again from the first event on."""
    stored = Folder(state_folder()).read_client()
    given = {"PACE_URL": "url", "PACE_API_KEY": "worker_key", "MLFLOW_TRACKING_URI": "mlflow_url"}
    missing = [name for name, key in given.items() if not os.environ.get(name) and not stored.get(key)]
    if missing:
        raise NoService(f"no service runs here; start one with `pace up`, or set {', '.join(missing)}")
    for name, key in given.items():
        os.environ.setdefault(name, stored.get(key, ""))
    _become("worker", "track", "--rebuild", needs=("mlflow",), extra="worker")


def _become(module: str, *arguments: str, needs: tuple[str, ...], extra: str) -> None:
    """Goes on as `python -m module …`, which gets our terminal and signals."""
    lacking = [name for name in needs if importlib.util.find_spec(name) is None]
    if lacking:
        why = f"this command needs {', '.join(lacking)}; install them with `pip install 'pace-finetune[{extra}]'`"
        err().print(f"[red]error:[/] {plain(why)}")
        raise typer.Exit(1)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
