"""The paper's grid beside as many trials of Optuna's TPE under ASHA, on one task, over a running service.

    python -m perf.searches [--task digits] [--epochs 9] [--image-size 32] [--train-images 1000]

Both searches see the validation images alone. Prints what each found and the epochs that it took.
"""

import argparse

from rich.table import Table

from service.client import Client, Dimension, RecipeChoice, StudyRequest, StudyView
from service.client.cli.output import out
from service.client.cli.study import watch

RECIPE, ROW = "vtab-mini", "PACE"
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


def table(studies: list[StudyView]) -> Table:
    """Returns both side by side."""
    shown = Table("search", "trials", "epochs together", "best on validation images", "its settings")
    for study in studies:
        best = study.best
        value = "–" if best is None or best.value is None else f"{100 * best.value:.1f}"
        settings = ", ".join(f"{path} {found:.3g}" for path, found in (best.config if best else {}).items())
        shown.add_row(study.name, str(sum(study.counts.values())), f"{study.epochs_spent:,}", value, settings)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--image-size", type=int, default=32, help="smaller than the task's own 64: quicker")
    parser.add_argument("--train-images", type=int, default=1000, help="a fifth of them validates")
    asked = parser.parse_args()
    with Client() as client:
        both = requests(asked.task, asked.epochs, asked.image_size, asked.train_images)
        submitted = [client.studies.submit(request) for request in both]
        ended = [watch(client, study) for study in submitted]
        out().print(table(ended))


if __name__ == "__main__":
    main()
