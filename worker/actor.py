"""The Ray actor behind a slot: warm, and running one attempt at a time."""

import importlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from pace_core import storage
from pace_core.places import places
from pace_core.roots import allow, data_path
from pace_core.roots import roots as make_roots
from pace_core.spec import Directive, RunError
from pace_core.spec.leases import BENCHMARK_DATA, Lease
from worker.code_version import code_version
from worker.environment import strip
from worker.memory import free_memory, own_memory
from worker.process_lock import hold
from worker.uploads import folder_of

if TYPE_CHECKING:
    from worker.attempt import Attempt

UNSEEN_S = 300.0
"""After so long without a dispatcher a run stops at a checkpoint, and an idle actor ends. Longer than a lease lasts: by
then the job goes on elsewhere."""
_WATCH_S = 5.0
_PREDECESSOR_S = 10.0
"""So long the process of the slot's actor before this one may take to end; then it is killed."""


class SlotActor:
    """The actor of a slot; it outlives the dispatcher that made it and is found again by its slot's name.

    Training runs in a thread of its own, so that no method call of a caller who dies can end it.
    """

    def __init__(
        self, namespace: str, slot: str, device: str, threads: int, roots: dict[str, list[str]], made_as: str
    ) -> None:
        """made_as: by which a dispatcher that starts later sees whether it would make the actor in the same way."""
        hold(f"{namespace}/{slot}", _PREDECESSOR_S)  # whatever ran here before is dead, not only thought to be
        strip()
        self._roots = roots
        self._upload: list[str] = []
        self._open_data()
        self._slot = slot
        self._device = device
        self._threads = threads
        self._made_as = made_as
        self._attempt: Attempt | None = None
        self._seen = time.monotonic()
        # here and not above: the dispatcher imports this module too, and has no use for torch
        self._attempts = importlib.import_module("worker.attempt")
        importlib.import_module("worker.warm").warm_up(device)
        self._idle_bytes = own_memory()
        self._seen = time.monotonic()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def start(self, lease: dict[str, Any]) -> None:
        """Starts a lease and returns at once; a lease that is running already is left alone.

        Raises RuntimeError while another attempt is running or not acknowledged to its end.
        """
        self._seen = time.monotonic()
        wanted = Lease.model_validate(lease)
        held = self._attempt
        if held is not None and (held.lease.job, held.lease.attempt) == (wanted.job, wanted.attempt):
            return
        if held is not None and not held.outbox.empty:
            raise RuntimeError(f"{self._slot} holds {held.lease.job}/{held.lease.attempt}")
        greeting = f"attempt {wanted.attempt} on {self._slot} (pid {os.getpid()}, code {code_version()})"
        self._upload = [] if wanted.upload is None else [str(folder_of(wanted.upload))]
        self._open_data()
        self._attempt = self._attempts.Attempt(wanted, greeting, self._device, self._threads)

    def exchange(self, acknowledged: int, directive: Directive, wait_s: float) -> dict[str, Any]:
        """Returns events not yet acknowledged, as JSON; waits up to `wait_s` for one. `ended`: no more will come."""
        self._seen = time.monotonic()
        attempt = self._attempt
        if attempt is None:
            return {"events": [], "ended": True}
        attempt.ask(directive)
        events = attempt.outbox.take(acknowledged, wait_s)
        return {"events": [event.model_dump(mode="json") for event in events], "ended": attempt.outbox.closed}

    def current(self) -> dict[str, Any]:
        """Returns job, attempt and token of the slot's lease (None, 0 and empty when idle), and how the actor is."""
        self._seen = time.monotonic()
        attempt = self._attempt
        busy = attempt is not None and not attempt.outbox.empty
        return {
            "job": attempt.lease.job if attempt and busy else None,
            "attempt": attempt.lease.attempt if attempt and busy else 0,
            "token": attempt.lease.token if attempt and busy else "",
            "last_seq": attempt.outbox.last_seq if attempt else 0,
            "made_as": self._made_as,
            "device": self._device,
            "memory_bytes": free_memory(self._device),
            "run_bytes": max(0, own_memory() - self._idle_bytes) if busy else 0,
            "pid": os.getpid(),
        }

    def prove(self, proof: str, copy: str) -> str:
        """Copies the file by which this node shows that it reaches the service's storage; empty, or what is wrong."""
        try:
            content = storage.read(proof)
            if content is None:
                return f"there is no {proof} on this node"
            storage.write(copy, content)
        except (OSError, RunError) as error:
            return str(error)
        return ""

    def has(self, paths: list[str]) -> dict[str, bool]:
        """Tells of data whether they are there and below a root whose files specs may read."""
        self._open_data()
        return {path: _there(path) for path in paths}

    def _open_data(self) -> None:
        """Lets specs read below the operator's roots, where this machine has been told that benchmarks lie, and the
        uploaded data set of the run's own project."""
        try:
            told = list(places().values())
        except RunError:  # whoever looks for a benchmark is told
            told = []
        allow(
            make_roots(
                [*self._roots["data"], *told, *self._upload], self._roots["weights"], self._roots.get("closed", [])
            )
        )

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            if time.monotonic() - self._seen < UNSEEN_S:
                continue
            if self._attempt is None or self._attempt.outbox.empty:
                os._exit(0)
            self._attempt.ask("pause")


def _there(path: str) -> bool:
    try:
        if (name := path.removeprefix(BENCHMARK_DATA)) != path:
            return data_path(Path(places()[name]).expanduser()).is_dir()
        return data_path(Path(path)).exists()
    except (RunError, OSError, ValueError, KeyError):
        return False


# exchange and current answer while start is being called, and while one exchange waits for events another may come
# from a dispatcher that was started anew
Actor = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={"exchange": 2, "current": 1})(SlotActor)
