"""What `python -m pace_core` can do: train one spec here, and predict with an adapter."""

import json
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from pace_core.adapters import Predictor, read_adapter
from pace_core.run import run
from pace_core.spec import Directive, Interrupted, RunError, RunResult, SpecError, validate
from pace_core.spec.spec_file import read_spec_file

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The PACE training core, without any service.")
console = Console()
errors = Console(stderr=True)


class Bars:
    """Shows a run's events as progress bars and lines; Ctrl-C ends the run after its step, with a checkpoint."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def event(self, type: str, data: dict[str, Any]) -> None:
        if type == "progress" and "step" in data:
            speed = f" · {data['images_per_s']:.0f} images/s" if "images_per_s" in data else ""
            unit = "generation" if data.get("stage") == "search" else "epoch"
            text = f"{unit} {data['epoch']}/{data['epochs']}{speed}"
            self._bar(data.get("stage", "train"), data["step"], data["steps"], text)
        elif type == "progress":
            self._bar(data["stage"], data["done"], data["total"], "")
        elif type == "metrics":
            values = " · ".join(f"{name} {value:.4g}" for name, value in data["values"].items())
            console.print(f"[dim]epoch {data['epoch']:>3}[/dim]  {values}")
        elif type == "log":
            console.print(escape(data["message"]))

    def directive(self) -> Directive:
        return "continue"

    def _bar(self, name: str, done: int, total: int, text: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, text=text)
        self._progress.update(self._bars[name], completed=done, total=total, text=text)


@app.command()
def train(
    spec_file: Annotated[Path, typer.Argument(help="YAML or JSON file with a run spec.")],
    folder: Annotated[Path, typer.Option(help="Where checkpoint and adapter go.")] = Path("run"),
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in the folder.")] = False,
) -> None:
    """Train one spec here and print its result."""
    try:
        spec = validate(read_spec_file(spec_file))
    except SpecError as error:
        raise _failed("\n".join(str(fault) for fault in error.faults)) from error
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    url = str(folder.absolute())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            result = run(spec, Bars(progress), url, resume_from=url if resume else None)
    except RunError as error:
        raise _failed(f"{error.reason}: {error.message}") from error
    except Interrupted as stopped:
        raise _failed(f"stopped ({stopped.directive}); --resume goes on") from stopped
    except KeyboardInterrupt as stopped:
        raise _failed("stopped; --resume goes on from the last checkpoint") from stopped
    (folder / "result.json").write_text(json.dumps(result.model_dump(mode="json"), indent=2))
    console.print(_table(result))


@app.command()
def predict(
    adapter: Annotated[str, typer.Argument(help="Path or URL of an adapter.safetensors.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
) -> None:
    """Name the likeliest class of each image."""
    try:
        found = Predictor(read_adapter(adapter)).of_files([str(image) for image in images])
    except RunError as error:
        raise _failed(error.message) from error
    for image, (name, probability) in zip(images, found, strict=True):
        typer.echo(f"{image}\t{name}\t{probability:.3f}")


def _table(result: RunResult) -> Table:
    table = Table(show_header=False)
    for metric in result.metrics:
        table.add_row(f"{metric.split} {metric.metric}", f"{100 * metric.value:.1f} %  (epoch {metric.epoch})")
    table.add_row("trained parameters", f"{result.trainable_parameters:,} ({result.adapter_parameters:,} without head)")
    speed = f", {result.images_per_s:.0f} images/s" if result.images_per_s else ""
    table.add_row("time", f"{result.seconds:.1f} s{speed}")
    table.add_row("peak memory", f"{result.peak_memory_bytes / 2**20:.0f} MiB")
    if result.adapter:
        table.add_row("adapter", result.adapter.uri)
    return table


def _failed(message: str) -> typer.Exit:
    errors.print(escape(message), style="red", highlight=False)
    return typer.Exit(1)


def main() -> None:
    """Runs the command line; Ctrl-C ends a run after its step."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="python -m pace_core")
