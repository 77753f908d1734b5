"""The paper's grid beside as many trials of Optuna's TPE under ASHA, on one task, over a running service.

    python -m perf.searches [--task digits] [--epochs 27] [--image-size 32] [--train-images 100]

Both searches see the validation images alone. Writes `docs/searches.md`: what each found and the epochs that it took,
with the grid's heat map. Trials that this service has done already are taken as they are.
"""

import argparse
import textwrap
from pathlib import Path

from service.client import Client, Dimension, RecipeChoice, StudyRequest, StudyView
from service.client.cli.study import watch
from worker.study_pictures import files

RECIPE, ROW = "vtab-mini", "PACE"
PAGE, PICTURE = Path("docs/searches.md"), Path("docs/searches.svg")
RANGES = {
    "regularizer.lambda": Dimension(loguniform=(0.02, 1.0)),
    "regularizer.sigma": Dimension(uniform=(0.1, 2.0)),
}
"""What the paper's grid spans."""


def requests(task: str, epochs: int, image_size: int, train_images: int) -> list[StudyRequest]:
    """Returns the grid, which is a study's default space, and 30 trials in the same ranges."""
    choice = RecipeChoice(name=RECIPE, row=ROW, task=task)
    over = {
        "training": {"epochs": epochs, "warmup_epochs": epochs / 15},
        "backbone": {"name": "pace_vit_mini", "image_size": image_size},
        "task": {"train_images": train_images},
    }
    grid = StudyRequest(name="the paper's grid", recipe=choice, overrides=over, seeds=[])
    asha = {"space": RANGES, "search": "tpe", "scheduler": "asha", "trials": 30, "name": "TPE under ASHA"}
    return [grid, grid.model_copy(update=asha)]


def page(studies: list[StudyView], asked: argparse.Namespace) -> str:
    """Returns the page with both side by side."""
    images = f"{asked.train_images:,} training images and the task's 200 validation images"
    about = (
        f"Over a running service: row {ROW} of {RECIPE}'s recipe on {asked.task}, {images}, at most {asked.epochs} "
        "epochs a trial. TPE draws lambda and sigma from the grid's ranges; ASHA runs a trial's short schedules first, "
        "and the whole one only of the best. Epochs are of all trials together."
    )
    lines = [
        "# A grid and a search, side by side",
        "",
        f"    python -m perf.searches --task {asked.task} --epochs {asked.epochs} --image-size {asked.image_size} "
        f"--train-images {asked.train_images}",
        "",
        textwrap.fill(about, 120),
        "",
        "| search | trials | epochs | best on validation images | its settings |",
        "|---|---:|---:|---:|---|",
    ]
    for study in studies:
        best = study.best
        value = "–" if best is None or best.value is None else f"{100 * best.value:.1f} %"
        settings = ", ".join(f"{path} {found:.3g}" for path, found in (best.config if best else {}).items())
        trials = sum(study.counts.values())
        lines.append(f"| {study.name} | {trials} | {study.epochs_spent:,} | {value} | {settings} |")
    grid, asha = studies
    share = asha.epochs_spent / grid.epochs_spent
    return "\n".join(
        [
            *lines,
            "",
            f"TPE under ASHA spent {share:.2f} of the grid's epochs. The grid's values, as MLflow shows them:",
            "",
            f"![Validation accuracy over lambda and sigma]({PICTURE.name})",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--image-size", type=int, default=32, help="smaller than the task's own 64: quicker")
    parser.add_argument("--train-images", type=int, default=100, help="of the 800 that a search has")
    asked = parser.parse_args()
    with Client() as client:
        both = requests(asked.task, asked.epochs, asked.image_size, asked.train_images)
        submitted = [client.studies.submit(request) for request in both]
        ended = [watch(client, study) for study in submitted]
        drawn = files(client.studies.report(ended[0].id), StudyRequest.model_validate(ended[0].request))
        PICTURE.write_text(drawn["heat_map.svg"], "utf-8")
    PAGE.write_text(page(ended, asked), "utf-8")
    print(PAGE.read_text("utf-8"))


if __name__ == "__main__":
    main()
