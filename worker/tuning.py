"""One study on Ray Tune, in a process of its own: `python -m worker.tuning < lease.json`.

A trial is a proxy that takes no slot: it asks the service for each rung, a job on the ordinary queue, and waits for it.
A driver that begins after another one was lost suggests what is known first: the service answers for what has ended at
once, so searcher and scheduler learn all of it again and nothing is run twice.
"""

import logging
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from service.client import Client, Dimension, NoService, ProblemError
from service.studies.driver_schemas import RungAnswer, RungRequest, StudyLease
from service.studies.schemas import StudyRequest
from worker.settings import Settings

VALUE, EPOCHS = "value", "epochs"
POINT = "point"
"""Under this name Tune has a grid's points, which are whole configs."""
A_SLIVER = 0.001
"""Of a CPU: Tune refuses a trial that asks for nothing."""
_WAIT_S = 20.0
_AGAIN_S = 2.0
_TRIES = 3


class TrialFailed(RuntimeError):
    """A trial's job failed; the message says why."""


class Proxy(tune.Trainable):
    """A trial as Tune sees it: one step is one rung."""

    def setup(self, config: dict[str, Any], lease: StudyLease, url: str, key: str) -> None:
        self._client = Client(url, key)
        self._lease = lease
        self._begin()

    def _begin(self) -> None:
        self._rung = 0
        self._last = math.nan
        """Its newest value."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Serves for the next trial, so that no process need be started for it."""
        self.config = new_config
        self._begin()
        return True

    def step(self) -> dict[str, Any]:
        lease, rung = self._lease, self._rung
        while (answer := self._asked(rung)) is None or not answer.ended:
            continue
        if answer.over:
            return {VALUE: self._last, EPOCHS: answer.epochs, "rung": rung, "over": True, "done": True}
        if answer.failed is not None or answer.value is None:
            raise TrialFailed(answer.failed or "its job says nothing of the metric; see the study's `metric`")
        self._last = answer.value
        self._rung += 1
        done = answer.stopped or self._rung == len(lease.rungs)
        said = {VALUE: answer.value, EPOCHS: answer.epochs, "trial": answer.trial, "rung": rung}
        return said | {"over": False, "done": done}

    def _asked(self, rung: int) -> RungAnswer | None:
        """Returns how the rung stands; None where the service has no answer now, or no room for the job.

        Nor is it told to a driver that has the study no more: this process ends with it.
        """
        config = self.config.get(POINT, self.config)
        asked = RungRequest(token=self._lease.token, config=config, rung=rung, wait_s=_WAIT_S)
        try:
            return self._client.studies.rung(self._lease.study, asked)
        except (NoService, ProblemError):
            time.sleep(_AGAIN_S)
            return None

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"rung": self._rung}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        self._rung = checkpoint["rung"] if checkpoint else 0

    def cleanup(self) -> None:
        self._client.close()


class TellStopped(tune.Callback):
    """Tells the service of the trials that the scheduler stops."""

    def __init__(self, lease: StudyLease) -> None:
        self._lease = lease  # and no connection: Tune pickles its callbacks

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result
        if last and not last["over"] and last["rung"] + 1 < len(self._lease.rungs):
            with Client() as client:
                client.studies.stopped(self._lease.study, self._lease.token, last["trial"], last["rung"])


class BudgetSpent(tune.Stopper):
    """Ends the search when the service says that its budget is spent, and nothing of it runs any more."""

    def __init__(self) -> None:
        self._over = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Notes what the trial was told."""
        self._over = self._over or result["over"]
        return False

    def stop_all(self) -> bool:
        """Tells whether it has been said."""
        return self._over


def searcher(lease: StudyLease) -> Any:
    """Returns Tune's searcher; what is known is suggested first."""
    request, known = lease.request, lease.known
    if request.search == "grid":
        return BasicVariantGenerator(max_concurrent=lease.concurrency)
    seed = request.seed + len(known)  # not the draws of before
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
    }
    return OptunaSearch(
        space=partial(suggest, request.space),  # Tune pickles it
        metric=VALUE,
        mode=request.mode,
        points_to_evaluate=known,
        sampler=samplers[request.search](),
    )


def suggest(space: Mapping[str, Dimension], trial: Any) -> None:
    """Asks an Optuna trial for a point of the space: for a field only where its condition holds."""
    values: dict[str, Any] = {}
    for path, dimension in sorted(space.items(), key=lambda item: len(item[1].when)):
        if all(values.get(other) == wanted for other, wanted in dimension.when.items()):
            values[path] = _suggested(trial, path, dimension)


def _suggested(trial: Any, path: str, dimension: Dimension) -> Any:
    if dimension.choice is not None:
        return trial.suggest_categorical(path, dimension.choice)
    if dimension.integer is not None:
        return trial.suggest_int(path, *dimension.integer)
    if dimension.loguniform is not None:
        return trial.suggest_float(path, *dimension.loguniform, log=True)
    assert dimension.uniform is not None
    return trial.suggest_float(path, *dimension.uniform)


def scheduler(request: StudyRequest, rungs: list[int]) -> TrialScheduler | None:
    """Returns Tune's scheduler, whose time is the epochs of a rung; None where every trial runs the whole schedule."""
    match request.scheduler:
        case "asha" | "hyperband":
            return ASHAScheduler(
                time_attr=EPOCHS,
                max_t=rungs[-1],
                grace_period=rungs[0],
                reduction_factor=request.reduction,
                brackets=1 if request.scheduler == "asha" else len(rungs),
            )
        case "median":
            # and it pauses nothing for others: the service's queue does that
            return MedianStoppingRule(time_attr=EPOCHS, grace_period=rungs[0], min_time_slice=math.inf)
        case "none":
            return None


def tuner(lease: StudyLease, trainable: Any, folder: str, callbacks: list[Any]) -> tune.Tuner:
    """Returns the study as Tune runs it."""
    request = lease.request
    grid = request.search == "grid"
    space = {POINT: tune.grid_search(lease.points)} if grid else {}
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": A_SLIVER}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=VALUE,
            mode=request.mode,
            search_alg=searcher(lease),
            scheduler=scheduler(request, lease.rungs),
            num_samples=1 if grid else lease.trials,
            max_concurrent_trials=None if grid else lease.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=lease.study,
            storage_path=folder,
            verbose=0,
            callbacks=callbacks,
            stop=BudgetSpent(),
            failure_config=tune.FailureConfig(max_failures=_TRIES),  # of proxies: a job is tried again by the service
        ),
    )


def main() -> int:
    """Drives the study of the lease on standard input; ends with 0 when the search is over."""
    lease = StudyLease.model_validate_json(sys.stdin.read())
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the service is the memory of the search
        "TUNE_RESULT_BUFFER_LENGTH": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)  # it misses the result files that nobody reads
    ray.init(Settings().ray_address, namespace="pace-studies", log_to_driver=False, logging_level=logging.WARNING)
    with Client() as client, tempfile.TemporaryDirectory(prefix="pace-study-") as folder:
        address = client.address
        proxy = tune.with_parameters(Proxy, lease=lease, url=address.url, key=address.key)
        found = tuner(lease, proxy, str(Path(folder)), [TellStopped(lease)]).fit()
    broken = [error for error in found.errors if TrialFailed.__name__ not in str(error)]
    for error in broken:
        logging.error("a proxy was lost, and not the trial that it stands for: %s", error)
    return 1 if broken else 0  # another driver goes on then, with all that is known


def _end_with(parent: int) -> None:
    """Ends this process with the one that started it, which alone keeps the study's lease."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
