"""The table of all methods is what the exported results say, and every number in it has its job."""

import json
from pathlib import Path

from perf.methods_table import Cell, markdown

DOCS = Path(__file__).parents[2] / "docs"


def line_of(table: str, method: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {method} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def run(regularizer: str, task: str, seed: int, accuracy: float) -> Cell:
    return Cell(
        method="ssf",
        regularizer=regularizer,
        task=task,
        seed=seed,
        job=f"job_{regularizer}{task}{seed}",
        accuracy=accuracy,
        parameters=1234,
    )


def test_a_cell_is_the_mean_over_seeds_and_the_last_columns_the_mean_over_tasks() -> None:
    cells = [
        run("none", "digits", 0, 0.50),
        run("none", "digits", 1, 0.54),
        run("pace", "digits", 0, 0.60),
        run("none", "cells", 0, 0.30),
        run("pace", "cells", 0, 0.40),
    ]
    assert line_of(markdown(cells, 3), "ssf") == ["ssf", "1,234", "52.0 ± 2.8", "60.0", "30.0", "40.0", "41.0", "50.0"]


def test_what_was_refused_or_failed_says_so_and_has_no_mean() -> None:
    why = "it multiplies the adapter's output by noise"
    cells = [
        run("none", "digits", 0, 0.5),
        Cell(method="ssf", regularizer="pace", task="digits", seed=0, refused=why),
        Cell(method="full", regularizer="none", task="digits", seed=0, job="job_9", failed="nan: the loss"),
    ]
    table = markdown(cells, 3)
    assert line_of(table, "ssf") == ["ssf", "1,234", "50.0", "refused", "50.0", "–"]
    assert f"- ssf × pace: refused, {why}" in table
    assert "- full × none, digits, seed 0: failed, nan: the loss (job_9)" in table


def test_the_committed_table_is_recomputed_from_the_exported_results() -> None:
    said = json.loads((DOCS / "methods.json").read_text("utf-8"))
    cells = [Cell.model_validate(cell) for cell in said["cells"]]
    assert (DOCS / "methods.md").read_text("utf-8") == markdown(cells, said["epochs"])
    assert all((cell.accuracy is None) == (cell.refused is not None or cell.failed is not None) for cell in cells)
    jobs = [cell.job for cell in cells if cell.accuracy is not None]
    assert len(set(jobs)) == len(jobs)
    assert all(job and job.startswith("job_") for job in jobs)
