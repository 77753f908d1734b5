"""What PACE's theory says, seen on our own runs: the paper's Figures 3, 5, 6 and 7, and a picture of its Theorem 1.

Two tasks are trained with the settings of the recipe's PACE row, under other regularizers, weights, noises and numbers
of images. A run is a line of docs/theory/results.jsonl; what is there is not run again, so that an interrupted call
goes on where it stopped. The pictures and the printed numbers come from that file alone, and go to MLflow too where a
server is known (MLFLOW_TRACKING_URI, or the running stack's).

    python -m perf.theory [--tasks glyphs,textures] [--processes 2]
"""

import argparse
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import mlflow

from pace_core.spec import RunSpec
from perf.rows import RECIPE, task_names
from perf.theory_pictures import draw, numbers
from perf.theory_runs import ROW, Outcome, Outcomes, planned, trained
from service.client.address import state_folder
from service.local.record import Folder

FOLDER = Path("docs/theory")
RESULTS = FOLDER / "results.jsonl"


def known() -> Outcomes:
    """What the file of results holds."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    return Outcomes(Outcome.model_validate(json.loads(line)) for line in lines)


def run_all(specs: Iterable[RunSpec], processes: int) -> None:
    """Trains what no result is there for, and adds each result as it comes."""
    there = known()
    missing = list({spec.model_dump_json(): spec for spec in specs if there.of(spec) is None}.values())
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process loads torch
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number, done in enumerate(as_completed([pool.submit(trained, spec) for spec in missing]), start=1):
            outcome = done.result()
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(outcome.model_dump_json() + "\n")
            said = f"{outcome.label}  {outcome.seconds:.0f} s  {outcome.failed or ''}"
            print(f"{number} of {len(missing)}  {said}", flush=True)


def keep_in_mlflow(pictures: list[Path], figures: dict[str, float]) -> None:
    """One run of the experiment `theory`, where a server is known."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or Folder(state_folder()).read_client().get("mlflow_url")
    if not uri:
        print("no MLflow server is known; the pictures are in", FOLDER)
        return
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("theory")
    mlflow.set_experiment_tag("mlflow.experimentKind", "custom_model_development")  # its pages show runs, not chats
    with mlflow.start_run(run_name=f"{RECIPE}/{ROW}"):
        mlflow.log_metrics(figures)
        for picture in (*pictures, RESULTS):
            mlflow.log_artifact(str(picture))
    print("the pictures are in MLflow too, experiment `theory`:", uri)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=task_names, default="glyphs,textures", help="two, with a comma between them")
    parser.add_argument("--processes", type=int, default=2, help="each takes one core")
    asked = parser.parse_args()
    begun = time.monotonic()
    run_all(planned(asked.tasks), asked.processes)
    outcomes = known()
    print(f"{len(outcomes)} runs are known; this call took {time.monotonic() - begun:.0f} s")
    pictures = draw(outcomes, asked.tasks, FOLDER)
    keep_in_mlflow(pictures, numbers(outcomes, asked.tasks))


if __name__ == "__main__":
    main()
