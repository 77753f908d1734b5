"""A study's trial beside Tune's own function trial, on no work: the cost of suggest, submit, lease and report.

    python -m perf.tune [--trials 60]

Starts Postgres, the API and a Ray of two cores by themselves; a worker that does nothing ends every job at once.
"""

import argparse
import asyncio
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import optuna
import ray
from ray import tune

from perf.served import only_api
from perf.submissions import only_postgres
from perf.suites import drain
from service.client import Client, Dimension, StudyRequest
from service.keys.bootstrap import bootstrap
from service.studies.driver_schemas import RungRequest, StudyLease
from worker.tuning import A_SLIVER, VALUE, Proxy, searcher, tuner

AT_ONCE = 8
SPEC: dict[str, Any] = {
    "task": {"name": "vtab-mini/digits"},
    "method": {"name": "lora_add"},
    "regularizer": {"name": "pace"},
    "training": {"epochs": 1},
}
SPACE = {"regularizer.sigma": Dimension(uniform=(0.1, 2.0)), "regularizer.lambda": Dimension(uniform=(0.02, 1.0))}


def draining(url: str, key: str) -> None:
    """Ends every job as soon as it is there, for ever."""

    async def run() -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
            while True:
                if not await drain(http, key):
                    await asyncio.sleep(0.02)

    threading.Thread(target=asyncio.run, args=(run(),), daemon=True).start()


def study(user: Client, worker: Client, trials: int) -> StudyLease:
    """Submits a study and takes it, as its driver does."""
    request = StudyRequest(
        spec=SPEC, space=SPACE, search="tpe", trials=trials, concurrency=AT_ONCE, seeds=[], reuse=False
    )
    user.studies.submit(request)
    lease = worker.studies.lease([])
    assert lease is not None
    return lease


def by_hand(worker: Client, lease: StudyLease) -> None:
    """Walks through the study as its driver does, without Tune: suggests, submits, waits, tells."""
    asked = searcher(lease)
    for number in range(lease.trials):
        point = asked.suggest(str(number))
        question = RungRequest(token=lease.token, config=point, rung=0)
        while not (answer := worker.studies.rung(lease.study, question)).ended:
            continue
        asked.on_trial_complete(str(number), {VALUE: answer.value, "training_iteration": 1})


def of_tune(trials: int, folder: Path) -> None:
    """Runs so many of Tune's own function trials, which do nothing."""

    def nothing(config: dict[str, Any]) -> None:
        tune.report({VALUE: config["x"]})

    tune.Tuner(
        tune.with_resources(nothing, {"cpu": A_SLIVER}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric=VALUE, mode="max", num_samples=trials, max_concurrent_trials=AT_ONCE),
        run_config=tune.RunConfig(name="functions", storage_path=str(folder), verbose=0),
    ).fit()


def timed(what: Callable[[], object], trials: int, name: str) -> float:
    """Prints the milliseconds a trial, and returns them."""
    before = time.perf_counter()
    what()
    each = 1000 * (time.perf_counter() - before) / trials
    print(f"{name:<46}{each:8.0f} ms a trial")
    return each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=60)
    trials = parser.parse_args().trials
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "3600"}
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "PYTHONPATH": os.getcwd()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name, only_postgres(Path(name) / "postgres") as database_url:
        folder = Path(name)
        keys = asyncio.run(bootstrap(database_url))
        with (
            only_api(database_url, folder) as (url, _),
            Client(url, keys.user) as user,
            Client(url, keys.worker) as worker,
        ):
            draining(url, keys.worker)
            first = study(user, worker, trials)
            ours = timed(lambda: by_hand(worker, first), trials, "suggest, submit, lease, report, one by one")
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            function = timed(lambda: of_tune(trials, folder), trials, f"Tune's function trial, {AT_ONCE} at a time")
            lease = study(user, worker, trials)
            proxy = tune.with_parameters(Proxy, lease=lease, url=url, key=keys.worker)
            under = tuner(lease, proxy, str(folder), [])
            whole = timed(under.fit, trials, f"a study's trial under Tune, {AT_ONCE} at a time")
            print(
                f"ours over Tune's function trial: {ours / function:.3f} (goal 0.1); under Tune {whole / function:.2f}"
            )
            ray.shutdown()


if __name__ == "__main__":
    main()
