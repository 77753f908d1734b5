"""Starts the parts of the stack one after the other, keeps them running, and ends them."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from service import postgres
from service.keys.bootstrap import Keys, bootstrap
from service.local import commands
from service.local.commands import Command
from service.local.identity import Identity, end_session, identify, kill_rest
from service.local.ports import answers, at, chosen_port, free_port
from service.local.readiness import healthy
from service.local.record import Folder, Part, Record, write_private
from service.local.started_with import settings_now

_LONGEST_PAUSE_S = 30.0
_LONGEST_LOG = 50_000_000  # bytes; a part that starts with a longer one begins a new one, and one older is kept
_STEADY_S = 60.0  # a part that ran this long is started again at once
_LOOK_S = 0.2
_POSTGRES_LOOK_S = 2.0

API_PORT = 8321


class Supervisor:
    """The running stack of one state folder.

    `say` is told of parts that ended; `answering` is called once, when the API answers.
    """

    def __init__(self, folder: Folder, say: Callable[[str], None], answering: Callable[[Record], None]) -> None:
        self._folder = folder
        self._say = say
        self._tell_answering = answering
        me = identify(os.getpid())
        assert me is not None
        self._api_port = chosen_port(API_PORT)
        host = os.environ.get("PACE_HOST") or "127.0.0.1"
        self._record = Record(
            supervisor=me,
            started_at=datetime.now(UTC),
            url=at(host, self._api_port),
            host=host,
            settings=settings_now(),
        )
        self._keepers: list[asyncio.Task[None]] = []
        self._own_postgres = not os.environ.get("PACE_DATABASE_URL")

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the stack until `stop` is set; then everything it started is ended, the data kept.

        What the environment names (PACE_DATABASE_URL, PACE_RAY_ADDRESS, MLFLOW_TRACKING_URI) is used, not started.
        Raises RuntimeError where Postgres or the API cannot start.
        """
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await starting  # raises what it raised
                await stopping
        finally:
            for task in (starting, stopping):
                task.cancel()
                with suppress(asyncio.CancelledError, RuntimeError):
                    await task
            await self._end()

    async def _start(self) -> None:
        folder = self._folder
        self._keep_record()
        database_url = os.environ.get("PACE_DATABASE_URL") or await asyncio.to_thread(postgres.start, folder.postgres)
        keys = await self._first_keys(database_url)
        mlflow_url = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow_port = 0 if mlflow_url else free_port(self._api_port + 1)
        self._record.mlflow_url = mlflow_url = mlflow_url or at(commands.mlflow_host(), mlflow_port)
        self._keep_client(keys)

        if self._own_postgres:
            self._keepers.append(asyncio.create_task(self._keep_postgres(), name="postgres"))
        self._begin(commands.api(folder, self._api_port, database_url, mlflow_url))
        await self._started("api", lambda: healthy(self._record.url, keys.user), within_s=120)
        self._tell_answering(self._record)

        worker = commands.worker_environment(folder, self._record.url, keys.worker)
        tracking = commands.worker_environment(folder, self._record.url, keys.tracking)
        ray_address = os.environ.get("PACE_RAY_ADDRESS")
        if not ray_address:
            ray_port = free_port()
            ray_address = f"127.0.0.1:{ray_port}"
            self._make_token()
            folder.ray.mkdir(mode=0o700)
            self._begin(commands.ray(folder, ray_port))
            with suppress(RuntimeError):  # the dispatcher is started again and again until it finds the cluster
                await self._started("ray", lambda: answers(ray_port), within_s=120)
        self._record.ray_address = ray_address
        own_ray = "ray" in self._record.parts
        self._begin(commands.dispatcher(folder, worker, ray_address, own_ray))
        self._begin(commands.studies(worker, ray_address, own_ray, folder))
        if mlflow_port:
            await self._begin_mlflow(mlflow_port, database_url)
        self._begin(commands.tracking(tracking, mlflow_url))

    async def _first_keys(self, database_url: str) -> Keys:
        try:
            keys = await bootstrap(database_url, self._folder.read_keys() or self._keys_of_version_1())
        except (SQLAlchemyError, ValueError) as error:
            named = "PACE_DATABASE_URL" if not self._own_postgres else str(self._folder.postgres)
            raise RuntimeError(f"the database of {named} cannot be used: {error}") from error
        write_private(self._folder.keys, json.dumps(asdict(keys), indent=2) + "\n")
        return keys

    def _keys_of_version_1(self) -> dict[str, str]:
        """What `client.json` held when it held the stack's own keys too."""
        stored = self._folder.read_client()
        return {"admin": stored["key"], "worker": stored["worker_key"]} if "worker_key" in stored else {}

    def _keep_client(self, keys: Keys) -> None:
        said = {"url": self._record.url, "key": keys.user, "mlflow_url": self._record.mlflow_url}
        write_private(self._folder.client, json.dumps(said, indent=2) + "\n")

    def _make_token(self) -> None:
        if not self._folder.ray_token.exists():
            write_private(self._folder.ray_token, secrets.token_hex(32))

    async def _begin_mlflow(self, port: int, database_url: str) -> None:
        try:
            server = commands.of_database(database_url, "postgres")
            await asyncio.to_thread(postgres.ensure_database, server, "mlflow")
        except psycopg.Error as error:
            self._say(f"MLflow is not started because its database cannot be made ({error}); set MLFLOW_TRACKING_URI")
        else:
            self._begin(commands.mlflow(self._folder, port, database_url))

    def _begin(self, command: Command) -> None:
        self._record.parts[command.name] = Part(log=str(self._folder.logs / f"{command.name}.log"))
        self._keepers.append(asyncio.create_task(self._keep(command), name=command.name))

    async def _keep(self, command: Command) -> None:
        """Runs a part, and again whenever it ends, after a pause that grows while it ends soon."""
        part = self._record.parts[command.name]
        pause_s = 0.5
        while True:
            began = time.monotonic()
            try:
                process = await self._spawn(command, part.log)
            except OSError as error:  # no room for its log, or no memory for a process: it may pass
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._say(f"{command.name} cannot be started and is tried again in {pause_s:g} s: {_short(error)}")
                await asyncio.sleep(pause_s)
                continue
            part.process = identify(process.pid) or Identity(pid=process.pid, started="")
            self._keep_record()
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await asyncio.to_thread(end_session, part.process, command.patience_s)
                await process.wait()
                raise
            kill_rest(part.process)
            if command.name == "ray":
                self._let_go_of_ray()
            part.process, part.restarts = None, part.restarts + 1
            self._keep_record()
            pause_s = 0.5 if time.monotonic() - began >= _STEADY_S else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._say(f"{command.name} ended (exit code {code}); started again in {pause_s:g} s, see {part.log}")
            await asyncio.sleep(pause_s)

    async def _keep_postgres(self) -> None:
        pause_s = _POSTGRES_LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                if not postgres.running(self._folder.postgres):
                    self._say(f"postgres ended; started again, see {self._folder.postgres / 'log'}")
                    await asyncio.to_thread(postgres.start, self._folder.postgres)
                pause_s = _POSTGRES_LOOK_S
            except Exception as error:  # such as a full disk: whatever it is, it may pass
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._say(f"postgres does not start and is tried again in {pause_s:g} s: {_short(error)}")

    def _let_go_of_ray(self) -> None:
        """What joined the cluster is of no use without it; it is started again and joins the next."""
        for name in ("dispatcher", "studies"):
            part = self._record.parts.get(name)
            if part and part.process:
                end_session(part.process, 0)

    async def _spawn(self, command: Command, log: str) -> asyncio.subprocess.Process:
        with suppress(FileNotFoundError):
            if os.path.getsize(log) > _LONGEST_LOG:
                os.replace(log, f"{log}.1")
        with open(log, "ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                env={name: value for name, value in os.environ.items() if name not in command.without}
                | command.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that it can be ended with all that it starts, and no Ctrl-C reaches it
            )
        if command.nice:
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, process.pid, command.nice)
        return process

    async def _started(self, name: str, answering: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not await asyncio.to_thread(answering):
            part = self._record.parts[name]
            if part.restarts >= 3 or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not start; the end of {part.log}:\n{_tail(part.log)}")
            await asyncio.sleep(_LOOK_S)

    async def _end(self) -> None:
        # the API last, for what tracking still has to say
        for names in (("dispatcher", "studies", "tracking", "ray", "mlflow"), ("api", "postgres")):
            ending = [task for task in self._keepers if task.get_name() in names]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
        if self._own_postgres:
            await asyncio.to_thread(postgres.stop, self._folder.postgres)

    def _keep_record(self) -> None:
        try:
            self._folder.write(self._record)
        except OSError as error:  # a full disk ends nothing that runs
            self._say(f"{self._folder.path} cannot be written: {_short(error)}")


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _tail(log: str) -> str:
    with open(log, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-20:])
