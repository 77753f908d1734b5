"""Runs the stack in this process."""

import asyncio
import signal
from collections.abc import Callable

from service.local.known import remember
from service.local.readiness import StackError
from service.local.record import Folder, Record
from service.local.stack import clear
from service.local.supervisor import Supervisor


def serve(
    folder: Folder, say: Callable[[str], None], answering: Callable[[Record], None] = lambda record: None
) -> signal.Signals | None:
    """Runs the stack until SIGTERM, SIGHUP or Ctrl-C, and returns which it was.

    Calls `answering` once, when the API answers. Raises StackError.
    """
    folder.make()
    with folder.held() as ours:
        if not ours:
            record = folder.read()
            where = f" at {record.url}" if record else ""
            raise StackError(f"the stack of {folder.path} runs already{where}; `pace status` shows it")
        clear(folder)
        remember(folder)
        try:
            ended_by = asyncio.run(_serve(Supervisor(folder, say, answering), say))
        except RuntimeError as error:
            raise StackError(str(error)) from error
        clear(folder)
    return ended_by


async def _serve(supervisor: Supervisor, say: Callable[[str], None]) -> signal.Signals | None:
    stop = asyncio.Event()
    came: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if not came:
            say("stopping, which takes some seconds")
        came.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    await supervisor.run(stop)
    return came[0] if came else None
