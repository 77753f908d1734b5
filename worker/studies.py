"""Drives studies: each in a process of its own, in which Ray Tune runs.

Holds nothing that cannot be found again, since the service knows every trial: it, its drivers and Ray may die at any
time.
"""

import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from pace_core.spec.leases import Heartbeat
from service.client import Client, LeaseFenced, NoService, ProblemError
from service.studies.driver_schemas import StudyLease

LOOK_S = 2.0
BEAT_S = 5.0
AGAIN_S = 5.0
"""After a driver failed."""
MOST = 8
"""Studies at a time."""
TOO_MANY = 429

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Driver:
    """A study's process."""

    lease: StudyLease
    process: subprocess.Popen[bytes]


def main() -> int:
    """Drives until SIGTERM or Ctrl-C."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    drivers: dict[str, Driver] = {}
    over: dict[str, StudyLease] = {}
    beat_at = 0.0
    with Client() as client:
        while not ended.is_set():
            pause_s = LOOK_S
            try:
                for study, driver in list(drivers.items()):
                    if driver.process.poll() is not None:
                        log.info("%s: its driver ended with code %d", study, driver.process.returncode)
                        pause_s = AGAIN_S if driver.process.returncode else LOOK_S
                        del drivers[study]
                        if driver.process.returncode == 0:
                            over[study] = driver.lease
                    elif not _goes_on(client, driver.lease):
                        driver.process.terminate()
                for study, lease in list(over.items()):
                    if _end(client, lease):
                        del over[study]
                if len(drivers) < MOST and pause_s == LOOK_S:
                    lease = client.studies.lease([*drivers, *over])
                    if lease is not None:
                        log.info("%s: %d trials by %s", lease.study, lease.trials, lease.request.search)
                        if earlier := drivers.pop(lease.study, None):  # extended or retried meanwhile
                            earlier.process.kill()
                        drivers[lease.study] = Driver(lease, _start(lease))
                if time.monotonic() > beat_at:
                    detail = f"{len(drivers) + len(over)} searched now"
                    client.worker.heartbeat(Heartbeat(part="studies", ok=True, detail=detail))
                    beat_at = time.monotonic() + BEAT_S
            except (NoService, ProblemError) as error:
                log.warning("%s", error)
            ended.wait(pause_s)
    for driver in drivers.values():
        driver.process.terminate()
    return 0


def _goes_on(client: Client, lease: StudyLease) -> bool:
    try:
        return client.studies.renew(lease.study, lease.token)
    except LeaseFenced:
        return False


def _end(client: Client, lease: StudyLease) -> bool:
    """Says that the search is over; whether that is settled, and not to be said again later."""
    importance = importlib.import_module("worker.study_record").importance  # it loads what computes
    try:
        shares = importance(client.studies.found(lease.study, lease.token), lease.request)
        client.studies.end(lease.study, lease.token, shares)
    except LeaseFenced:
        log.info("%s: it was cancelled, extended or retried", lease.study)
    except ProblemError as error:
        if error.status == TOO_MANY:  # no room for the final runs yet
            client.studies.renew(lease.study, lease.token)
            return False
        client.studies.end(lease.study, lease.token, failed=str(error)[:2_000])
    return True


def _start(lease: StudyLease) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", "worker.tuning"], stdin=subprocess.PIPE, env=os.environ)
    assert process.stdin is not None
    process.stdin.write(lease.model_dump_json(by_alias=True).encode())
    process.stdin.close()
    return process
