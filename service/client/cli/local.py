"""`pace up`, `down`, `status`, `connect`, `train`, `predict`, `tracking rebuild`: this machine, and what it uses."""

import importlib
import importlib.util
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from service.client import Client, NoService, ProblemError
from service.client.address import find_address, find_admin_key, find_stack, is_loopback, state_folder
from service.client.cli.output import (
    AsCsv,
    AsJson,
    Form,
    ago,
    failed,
    form,
    going_on,
    out,
    plain,
    print_csv,
    print_json,
    print_table,
    print_text,
    table,
)
from service.local.identity import alive
from service.local.known import connection_file, known_stacks, running_stacks
from service.local.ports import at
from service.local.readiness import wait_ready as wait_for_parts
from service.local.record import Folder, Record, read_client, write_private
from service.local.started_with import not_taken

_STYLES = {"ok": "green", "failing": "red", "silent": "red", "unknown": "yellow"}
_STARTING = "the stack goes on starting; `pace status` shows it, `pace down` stops it"
_RUNS = "/#/experiments?workflowType=machine_learning"  # else a browser that is new to it opens its pages for chats


def install(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    # no help of its own: `--help` goes on to the command that it becomes
    passed_on: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=passed_on)(train)
    app.command(context_settings=passed_on)(predict)
    app.command(context_settings=passed_on)(data)
    app.command()(connect)
    tracking = typer.Typer(help="The MLflow side.", no_args_is_help=True)
    tracking.command("rebuild")(rebuild)
    tracking.callback()(lambda: None)
    app.add_typer(tracking, name="tracking")


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the API answers.")] = False,
    wait_ready: Annotated[bool, typer.Option(help="With --detach: return when every part is ready.")] = False,
    host: Annotated[
        str | None, typer.Option(help="Where the API listens: 0.0.0.0 lets other machines in, each with a key.")
    ] = None,
    share_mlflow: Annotated[
        bool, typer.Option("--share-mlflow", help="Open MLflow to the network too; it has no access control.")
    ] = False,
) -> None:
    """Start the service on this machine: Postgres, API, Ray, dispatcher, tracking, MLflow."""
    os.environ |= {"PACE_HOST": host} if host else {}
    os.environ |= {"PACE_SHARE_MLFLOW": "1"} if share_mlflow else {}
    folder = Folder(state_folder())
    tell_of_others(folder)
    if not (detach or wait_ready):
        _require("uvicorn", "ray", "mlflow", "torch", extra="all")

        def answering(record: Record) -> None:
            _print_addresses(folder, record, stop="Ctrl-C")

        ended_by = importlib.import_module("service.local.serving").serve(folder, out().print, answering)
        print_text("stopped; `pace up` goes on with all that is there")
        if ended_by == signal.SIGINT:
            raise typer.Exit(130)
        return
    record = folder.read() if folder.running() else None
    if record:
        out().print("the stack runs already")
        if fresh := not_taken(record.settings):
            names = ", ".join(fresh)
            print_text(f"the running stack ignores {names}; run `pace down`, then `pace up`, to apply it")
    else:
        _require("uvicorn", "ray", "mlflow", "torch", extra="all")
        # here and not above: it needs the service's packages, which a client has not
        with going_on(_STARTING):
            record = importlib.import_module("service.local.stack").start_detached(folder)
    if wait_ready:
        with going_on(_STARTING):
            wait_for_parts(record.url, folder.read_client()["key"], record.started_at, out().print)
    _print_addresses(folder, record, stop="pace down")


def tell_of_others(folder: Folder) -> None:
    """Says that the stack will be a new one, where nobody has asked for that and the user has others."""
    others = [] if folder.postgres.exists() or os.environ.get("PACE_STATE_DIR") else known_stacks()
    if not others:
        return
    print_text(f"this is a new stack without jobs, in {folder.path}; the ones that you have are")
    for other in others:
        out().print(f"  PACE_STATE_DIR={plain(other.path)} pace up    {'runs' if other.running() else 'is stopped'}")


def down() -> None:
    """Stop what `pace up` started; the data stay."""
    _require("psycopg", extra="all")
    folder = find_stack()
    with going_on("the stack goes on stopping; `pace down` waits for it again"):
        ran = importlib.import_module("service.local.stack").stop(folder)
    out().print("stopped" if ran else f"no stack runs on {plain(folder.path)}")


def status(
    wait: Annotated[bool, typer.Option("--wait", help="Return when every part is ready.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the stack of this machine and how each part is."""
    shape = form(as_json, as_csv)
    folder = find_stack()
    record = folder.read() if folder.running() else None
    if wait:
        address = find_address(record.url if record else None)
        since = record.started_at if record else datetime.fromtimestamp(0, UTC)
        with going_on(_STARTING):
            wait_for_parts(address.url, address.key, since, out().print)
    with Client() as client:
        ready = client.ready()
        url, mlflow_url = client.address.url, client.address.mlflow_url
    if shape is Form.JSON:
        return print_json({"url": url, "mlflow_url": mlflow_url, **ready.model_dump(mode="json")})
    if shape is Form.CSV:
        rows = [{"part": name, **part.model_dump(mode="json")} for name, part in ready.parts.items()]
        return print_csv(rows, ("part", "status", "at", "detail"))
    if record:
        _print_processes(record)
    parts = table("part", "state", "heard of", "|detail")
    for name, part in ready.parts.items():
        parts.add_row(name, f"[{_STYLES.get(part.status, 'yellow')}]{part.status}[/]", ago(part.at), plain(part.detail))
    print_table(parts)
    key = folder.client if record else "PACE_API_KEY" if os.environ.get("PACE_API_KEY") else connection_file()
    lines = [("pages", plain(_pages(url))), ("key", plain(key)), ("API docs", f"{url}/docs")]
    lines += [("MLflow", f"{mlflow_url}{_RUNS}")] if mlflow_url else []
    lines += [("stop", "pace down, or make down")] if record else []
    for name, value in lines:
        out().print(f"{name:9} {value}")


def _print_processes(record: Record) -> None:
    shown = table("process", "state", ">pid", ">restarts", "~log")
    for name, part in record.parts.items():
        here = part.process is not None and alive(part.process)
        state = "[green]running[/]" if here else "[red]ended[/]"
        pid = str(part.process.pid) if part.process else ""
        shown.add_row(name, state, pid, str(part.restarts), plain(part.log))
    print_table(shown)


def connect(
    file: Annotated[Path, typer.Argument(help="The file that `pace key create NAME --save FILE` made.")],
) -> None:
    """Use the service of another machine from here on, with the address and the key of that file."""
    said = read_client(file.expanduser())
    if not {"url", "key"} <= said.keys():
        raise failed(f"{file} holds no address and key of a service; `pace key create NAME --save FILE` makes one")
    with Client(said["url"], said["key"]) as client:
        next(client.jobs.list(limit=1), None)  # raises where nobody answers, or the key is none
    kept = connection_file()
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_private(kept, json.dumps({"url": said["url"], "key": said["key"]}, indent=2) + "\n")
    out().print(f"pace uses {plain(said['url'])} from now on; the key is in {plain(kept)}")


def predict(context: typer.Context) -> None:
    """Name the classes of images with a downloaded adapter: `pace predict adapter.safetensors photos/`."""
    _become("pace_core", "predict", *context.args, needs=("torch", "timm"), extra="core")


def train(context: typer.Context) -> None:
    """Run a spec here and now, without any service: `pace train spec.yaml`."""
    _become("pace_core", "train", *context.args, needs=("torch", "timm"), extra="core")


def data(context: typer.Context) -> None:
    """Fetch a benchmark's data (`pace data fetch`), say where it lies (`add`) and what is there of it (`check`)."""
    _become("pace_core", "data", *context.args, needs=("torch", "timm"), extra="core")


def rebuild() -> None:
    """Fill MLflow again from the first event on."""
    folder = find_stack()
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
        "pages": _pages(record.url),
        "API docs": f"{record.url}/docs",
        "MLflow": f"{record.mlflow_url}{_RUNS} (the first start takes up to a minute)",
        "key": f"in {folder.client}; `pace` and the Python client find it there",
        "logs": str(folder.logs),
        "stop": stop,
    }
    out().print(f"The service answers at {record.url}")
    for name, value in lines.items():
        out().print(f"  {name:9} {plain(value)}")
    if not is_loopback(at(record.host, 0)) or record.host in ("0.0.0.0", "::"):
        port = record.url.rpartition(":")[2]
        for text in (
            f"Other machines reach it at port {port} of {record.host}, each with a key of its own: "
            "`pace key create NAME --save NAME.json` makes the file for a person, who runs `pace connect NAME.json`.",
            "Keys and results travel in the clear: on a network that you do not trust, set a proxy with TLS before it "
            f"or let people come by `ssh -L {port}:127.0.0.1:{port}`.",
            "MLflow listens too and asks nobody for a key: whoever reaches it can read and delete runs."
            if os.environ.get("PACE_SHARE_MLFLOW") == "1"
            else "MLflow asks for no key, so it stays on this machine; --share-mlflow opens it too.",
        ):
            print_text(text)
    others = [other for other in running_stacks() if other.path != folder.path]
    if others:
        print_text(f"Other stacks that run here: {', '.join(str(other.path) for other in others)}")


def _pages(url: str) -> str:
    """Returns a link to the web pages that signs in whoever opens it first, within the hour."""
    try:
        with Client(url, find_admin_key()) as client:
            return f"{url}/sign-in/link?link={client.sessions.link().secret}"
    except (ProblemError, NoService):  # an older service, or a key without pages
        return url


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
