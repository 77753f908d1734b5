"""What PACE's theory says, seen on our own runs: the paper's Figures 3, 5, 6 and 7, and a picture of its Theorem 1.

Two tasks are trained with the settings of the recipe's PACE row, under other regularizers, weights, noises and numbers
of images. A run is a line of docs/theory/results.jsonl; what is there is not run again, so that an interrupted call
goes on where it stopped. The pictures and the printed numbers come from that file alone, and go to MLflow too where a
server is known (MLFLOW_TRACKING_URI, or the running stack's).

    python -m perf.theory [--tasks glyphs,textures]
"""

import argparse
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import mlflow

from pace_core.spec import RunSpec
from perf.theory_pictures import draw, numbers
from perf.theory_runs import RECIPE, ROW, Outcome, Outcomes, outcome_of, planned, suites_of
from service.client import Client
from service.client.address import state_folder
from service.client.cli.suite import watch
from service.local.record import Folder

FOLDER = Path("docs/theory")
RESULTS = FOLDER / "results.jsonl"


def known() -> Outcomes:
    """What the file of results holds."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    return Outcomes(Outcome.model_validate(json.loads(line)) for line in lines)


def run_all(specs: Iterable[RunSpec]) -> None:
    """Trains what no result is there for, as suites, and adds each result when its suite has ended."""
    there = known()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with Client() as client:
        submitted = [client.suites.submit(asked) for asked in suites_of(s for s in specs if there.of(s) is None)]
        for suite in submitted:
            watch(client, suite)
            for job in client.jobs.list(None, suite=suite.id):
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(outcome_of(job, client.jobs.events(job.id)).model_dump_json() + "\n")


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
    parser.add_argument(
        "--tasks", type=lambda text: text.split(","), default="glyphs,textures", help="two, with a comma"
    )
    asked = parser.parse_args()
    begun = time.monotonic()
    run_all(planned(asked.tasks))
    outcomes = known()
    print(f"{len(outcomes)} runs are known; this call took {time.monotonic() - begun:.0f} s")
    pictures = draw(outcomes, asked.tasks, FOLDER)
    keep_in_mlflow(pictures, numbers(outcomes, asked.tasks))


if __name__ == "__main__":
    main()
