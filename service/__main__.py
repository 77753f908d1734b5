"""`python -m service`: serves the API; with `keys create|revoke`: the first key, where there is none to ask with."""

import argparse
import asyncio
import gc
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from service import log, postgres
from service.app import create_app
from service.audit.log import record_command
from service.db import Database
from service.keys.roles import Role
from service.keys.secrets import make_key, revoke, topic
from service.keys.tables import ApiKey
from service.migrate import migrate
from service.settings import Settings
from service.wake import Wakes, tell_services


def main() -> None:
    """Reads the command line and the environment (PACE_…)."""
    parser = argparse.ArgumentParser(prog="python -m service", description="Serves the API, or manages its keys.")
    commands = parser.add_subparsers(dest="command")
    keys = commands.add_parser("keys", help="make and revoke API keys").add_subparsers(dest="verb", required=True)
    create = keys.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--role", type=Role, choices=list(Role), default=Role.USER)
    create.add_argument("--project", help="where its jobs go; made where it does not exist (default: default)")
    create.add_argument("--cluster", help="that a worker's key leases for (default: local)")
    create.add_argument("--owner", required=True, help="whose it is")
    revoke_ = keys.add_parser("revoke", help="make a key useless")
    revoke_.add_argument("id", help="such as key_01…; `pace key list` names it")
    arguments = parser.parse_args()
    settings = Settings()
    if arguments.command == "keys":
        asyncio.run(_keys(settings, arguments))
        return
    log.configure()
    api = create_app(settings)
    serve(api, api, settings)


def serve(app: ASGIApp, api: FastAPI, settings: Settings) -> None:
    """Serves `app`, which is the API or has it within, until the process is told to end."""
    gc.freeze()  # modules and routes live as long as the process: no collection need look at them again
    gc.set_threshold(10_000, 20, 20)
    _Server(server_config(app, settings), api).run()


_KEPT_OPEN_S = 75  # idle: longer than clients and proxies keep a connection, whose next request else meets its end


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Returns the settings of the server."""
    return uvicorn.Config(
        app,
        settings.host,
        settings.port,
        log_config=None,
        access_log=False,  # our own line has the request's id
        timeout_graceful_shutdown=5,
        timeout_keep_alive=_KEPT_OPEN_S,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        server_header=False,
    )


class _Server(uvicorn.Server):
    """Server that has waiting requests answer when the process is told to end, instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, api: FastAPI) -> None:
        super().__init__(config)
        self._api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        wakes: Wakes | None = getattr(self._api.state, "wakes", None)
        if wakes:
            wakes.close()
        super().handle_exit(sig, frame)


async def _keys(settings: Settings, arguments: argparse.Namespace) -> None:
    url = settings.database_url or await asyncio.to_thread(postgres.start, settings.state_dir / "postgres")
    await migrate(url)
    database = Database(url, pool_size=1)
    async with database.transaction() as session:
        if arguments.verb == "create":
            key, secret = await make_key(
                session, arguments.role, arguments.owner, arguments.project, cluster=arguments.cluster
            )
            record_command(session, "key.create", key.id, key.project, owner=key.owner, role=key.role)
            sys.stdout.write(f"{secret}\n")
        elif not await revoke(session, ApiKey.id == arguments.id):
            sys.exit("there is no such key, or it is revoked already")
        else:
            record_command(session, "key.revoke", arguments.id)
            await tell_services(session, topic(arguments.id))
    await database.close()


if __name__ == "__main__":
    main()
