"""Runs the stack in this process."""

import asyncio
import signal
from collections.abc import Callable

from service.local.known import forget, remember
from service.local.readiness import StackError
from service.local.record import Folder, Record
from service.local.stack import clear
from service.local.supervisor import Supervisor


def serve(
    folder: Folder, say: Callable[[str], None], answering: Callable[[Record], None] = lambda record: None
) -> None:
    """Runs the stack until SIGTERM or Ctrl-C; calls `answering` once, when the API answers. Raises StackError."""
    folder.make()
    with folder.held() as ours:
        if not ours:
            record = folder.read()
            where = f" at {record.url}" if record else ""
            raise StackError(f"the stack of {folder.path} runs already{where}; `pace status` shows it")
        clear(folder)
        remember(folder)
        try:
            asyncio.run(_serve(Supervisor(folder, say, answering)))
        except RuntimeError as error:
            raise StackError(str(error)) from error
        finally:
            forget(folder)
        clear(folder)


async def _serve(supervisor: Supervisor) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await supervisor.run(stop)
