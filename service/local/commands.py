"""The processes of the stack: their commands and environments."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from service.local.ports import free_port
from service.local.record import Folder

_OBJECT_STORE_BYTES = 100_000_000  # nothing of size goes through Ray's object store; 75 MB is its least


@dataclass(frozen=True)
class Command:
    """Command line of a part."""

    name: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict[str, str])
    patience_s: float = 5.0
    """How long it may take to end by itself; 0 kills it at once."""
    nice: int = 0
    without: tuple[str, ...] = ()
    """Variables of our environment that it does not get."""


def api(folder: Folder, port: int, database_url: str, mlflow_url: str | None) -> Command:
    """Returns the command of the REST API, with the pages and MLflow's UI on the same port."""
    environment = {
        "PACE_DATABASE_URL": database_url,
        "PACE_STATE_DIR": str(folder.path),
        "PACE_STORAGE": storage_root(folder),
        "PACE_PORT": str(port),
    } | ({"PACE_MLFLOW_URL": mlflow_url} if mlflow_url else {})
    # open streams and long polls would hold it up for longer; whoever waits in them connects again
    return Command("api", [sys.executable, "-m", "dashboards.main"], environment, patience_s=2.0)


def ray(folder: Folder, port: int) -> Command:
    """Returns the command of a Ray cluster on loopback, with a token that only its owner can read.

    Every port is free or drawn by Ray, so that two clusters never meet. It is killed as a whole session, which ends
    the actors too; `ray stop` would end every cluster of the machine.
    """
    arguments = [
        *(_script("ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder.ray}"),
        *(f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"),
        *("--min-worker-port=0", "--max-worker-port=0"),
        *("--include-dashboard=false", "--no-monitor", "--include-log-monitor=false"),
        *(f"--object-store-memory={_OBJECT_STORE_BYTES}", "--log-style=record", "--log-color=false"),
    ]
    return Command("ray", arguments, ray_environment(folder), patience_s=0, without=_NOT_FOR_RAY)


_NOT_FOR_RAY = ("PACE_API_KEY", "PACE_DATABASE_URL", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN")
"""What runs on the cluster has no use for these. Credentials of an object store stay: its actors write there."""


def ray_environment(folder: Folder) -> dict[str, str]:
    """Returns the environment of every process that talks to the cluster."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder.ray_token),
        # on every system: without it Ray turns 127.0.0.1 into the machine's address and listens to the network
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def dispatcher(folder: Folder, worker: dict[str, str], ray_address: str, own_ray: bool) -> Command:
    """Leases jobs to the slots of the Ray cluster."""
    environment = worker | {"PACE_RAY_ADDRESS": ray_address} | (ray_environment(folder) if own_ray else {})
    return Command("dispatcher", [sys.executable, "-m", "worker", "dispatch"], environment)


def studies(worker: dict[str, str], ray_address: str, own_ray: bool, folder: Folder) -> Command:
    """Drives studies on the Ray cluster."""
    environment = worker | {"PACE_RAY_ADDRESS": ray_address} | (ray_environment(folder) if own_ray else {})
    return Command("studies", [sys.executable, "-m", "worker", "study"], environment, nice=5)


def tracking(worker: dict[str, str], mlflow_url: str) -> Command:
    """Fills MLflow from the service's events."""
    environment = worker | {"MLFLOW_TRACKING_URI": mlflow_url}
    return Command("tracking", [sys.executable, "-m", "worker", "track"], environment, nice=5)


def mlflow(folder: Folder, port: int, database_url: str) -> Command:
    """Returns the command of the MLflow server, which computes for 15 to 50 s at its start: hence last and nicest."""
    arguments = [
        *(_script("mlflow"), "server", "--host", mlflow_host(), "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", _sqlalchemy(of_database(database_url, "mlflow"))),
        *("--artifacts-destination", f"{storage_root(folder)}/mlflow"),
    ]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Command("mlflow", arguments, environment, patience_s=2.0, nice=5)


def mlflow_host() -> str:
    """Returns where MLflow listens: on this machine alone unless it is to be shared, since it asks nobody for a key."""
    shared = os.environ.get("PACE_SHARE_MLFLOW") == "1"
    return os.environ.get("PACE_HOST") or "127.0.0.1" if shared else "127.0.0.1"


def worker_environment(folder: Folder, url: str, key: str) -> dict[str, str]:
    """Returns the environment in which dispatcher and tracking reach the service and the files."""
    return {
        "PACE_URL": url,
        "PACE_API_KEY": key,
        "PACE_STATE_DIR": str(folder.path),
        "PACE_STORAGE": storage_root(folder),
        "PACE_DATA_ROOTS": os.environ.get("PACE_DATA_ROOTS") or os.pathsep.join(_default_roots(folder)),
    }


def _default_roots(folder: Folder) -> list[str]:
    """Returns the home and the folder that we were started in, but neither the whole disk nor what the stack keeps."""
    kept = [folder.path.resolve(), Path(storage_root(folder).removeprefix("file://")).resolve()]
    places = [place.resolve() for place in (Path.home(), Path.cwd())]
    return list(
        dict.fromkeys(
            str(place)
            for place in places
            if place != Path("/") and not any(place.is_relative_to(folder) for folder in kept)
        )
    )


def storage_root(folder: Folder) -> str:
    """Returns PACE_STORAGE, else a folder of the state folder."""
    return (os.environ.get("PACE_STORAGE") or str(folder.storage)).rstrip("/")


def of_database(url: str, name: str) -> str:
    """Returns the URL of the same server's database of that name."""
    parts = urlsplit(url)
    # urlunsplit would drop the slashes before an empty host; a socket in the query wins over the host here
    return urlunsplit(parts._replace(netloc=parts.netloc or "localhost", path=f"/{name}"))


def _sqlalchemy(url: str) -> str:
    return "postgresql+psycopg://" + url.partition("://")[2]


def _script(name: str) -> str:
    """A command of the environment that runs us, whatever PATH says."""
    return str(Path(sys.executable).parent / name)
