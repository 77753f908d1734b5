"""`pace up`, `down`, `status`, `tracking rebuild` and `train`: what runs on this machine."""

import importlib
import importlib.util
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from service.client import Client, NoService
from service.client.address import find_address, state_folder
from service.client.cli.output import ago, failed, out, plain, print_table, table
from service.local.identity import alive
from service.local.readiness import wait_ready as wait_for_parts
from service.local.record import Folder, Record

_STYLES = {"ok": "green", "failing": "red", "silent": "red", "unknown": "yellow"}
_RUNS = "  (its runs: Model training, at the top left)"  # a browser that is new to it opens its pages for chats


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    # no help of its own: `--help` goes on to the command that it becomes
    passed_on: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=passed_on)(train)
    tracking = typer.Typer(help="The MLflow side.", no_args_is_help=True)
    tracking.command("rebuild")(rebuild)
    tracking.callback()(lambda: None)
    app.add_typer(tracking, name="tracking")


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the API answers.")] = False,
    wait_ready: Annotated[bool, typer.Option(help="With --detach: return when every part is ready.")] = False,
) -> None:
    """Start the service on this machine: Postgres, API, Ray, dispatcher, tracking, MLflow."""
    folder = Folder(state_folder())
    if not (detach or wait_ready):
        _require("uvicorn", "ray", "mlflow", "torch", extra="all")

        def answering(record: Record) -> None:
            _print_addresses(folder, record, stop="Ctrl-C")

        importlib.import_module("service.local.serving").serve(folder, out().print, answering)
        return
    record = folder.read() if folder.running() else None
    if record:
        out().print("the stack runs already")
    else:
        _require("uvicorn", "ray", "mlflow", "torch", extra="all")
        # here and not above: it needs the service's packages, which a client has not
        record = importlib.import_module("service.local.stack").start_detached(folder)
    if wait_ready:
        wait_for_parts(record.url, folder.read_client()["key"], record.started_at, out().print)
    _print_addresses(folder, record, stop="pace down")


def down() -> None:
    """Stop what `pace up` started; the data stay."""
    _require("psycopg", extra="all")
    folder = Folder(state_folder())
    ran = importlib.import_module("service.local.stack").stop(folder)
    out().print("stopped" if ran else f"no stack runs on {plain(folder.path)}")


def status(
    wait: Annotated[bool, typer.Option("--wait", help="Return when every part is ready.")] = False,
) -> None:
    """Show the stack of this machine and how each part is."""
    folder = Folder(state_folder())
    record = folder.read() if folder.running() else None
    if wait:
        address = find_address(record.url if record else None)
        since = record.started_at if record else datetime.fromtimestamp(0, UTC)
        wait_for_parts(address.url, address.key, since, out().print)
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
    lines += [("MLflow", f"{mlflow_url}{_RUNS}")] if mlflow_url else []
    lines += [("stop", "pace down, or make down")] if record else []
    for name, value in lines:
        out().print(f"{name:9} {value}")


def train(context: typer.Context) -> None:
    """Run a spec here and now, without any service: `pace train spec.yaml`."""
    _become("pace_core", "train", *context.args, needs=("torch", "timm"), extra="core")


def rebuild() -> None:
    """Fill MLflow again from the first event on."""
    folder = Folder(state_folder())
    stored = folder.read_client() | {"tracking_key": folder.read_keys().get("tracking", "")}
    given = {"PACE_URL": "url", "PACE_API_KEY": "tracking_key", "MLFLOW_TRACKING_URI": "mlflow_url"}
    missing = [name for name, key in given.items() if not os.environ.get(name) and not stored.get(key)]
    if missing:
        raise NoService(f"no service runs here; start one with `pace up`, or set {', '.join(missing)}")
    os.environ |= {name: os.environ.get(name) or stored[key] for name, key in given.items()}
    _become("worker", "track", "--rebuild", needs=("mlflow",), extra="worker")


def _print_addresses(folder: Folder, record: Record, stop: str) -> None:
    if stop != "Ctrl-C" and os.environ.get("PACE_STATE_DIR"):
        stop = f"PACE_STATE_DIR={folder.path} {stop}"
    lines = {
        "API docs": f"{record.url}/docs",
        "MLflow": f"{record.mlflow_url}{_RUNS}; the first start takes up to a minute",
        "key": f"in {folder.client}; `pace` and the Python client find it there",
        "logs": str(folder.logs),
        "stop": stop,
    }
    out().print(f"The service answers at {record.url}")
    for name, value in lines.items():
        out().print(f"  {name:9} {plain(value)}")


def _become(module: str, *arguments: str, needs: tuple[str, ...], extra: str) -> None:
    """Goes on as `python -m module …`, which gets our terminal and signals."""
    _require(*needs, extra=extra)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def _require(*needs: str, extra: str) -> None:
    """Ends the command where a package is not installed."""
    lacking = [name for name in needs if importlib.util.find_spec(name) is None]
    if lacking:
        cure = f"install them with `pip install 'pace-finetune[{extra}]'`"
        raise failed(f"this command needs {', '.join(lacking)}; {cure}")
