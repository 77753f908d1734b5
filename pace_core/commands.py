"""Commands of `python -m pace_core`: train one spec here, and predict with an adapter."""

import importlib
import io
import json
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from typer.core import TyperGroup

from pace_core import places, prediction, storage
from pace_core.adapter_content import adapter_content, reads_text
from pace_core.passed_over import Passed
from pace_core.quick_start import networks_only
from pace_core.run_folder import RESULT, FolderRefused, run_folder
from pace_core.spec import Directive, Interrupted, RunError, RunResult, SpecError, load_benchmarks, validate
from pace_core.spec.spec_file import read_spec_file, with_absolute_paths
from pace_core.spec.suggest import did_you_mean
from pace_core.spec.text import escaped, valid_unicode


class _Stoppable(TyperGroup):
    """Commands that say so when Ctrl-C ends them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise _failed("stopped by Ctrl-C", code=130) from stopped


app = typer.Typer(
    cls=_Stoppable, add_completion=False, no_args_is_help=True, help="The PACE training core, without any service."
)
console = Console()
errors = Console(stderr=True)


_ASKED = ("supernet", "search", "train")
"""The stages that ask after every step whether to go on."""


class Bars:
    """Progress bars and lines of a run's events. The first Ctrl-C ends training after its step, with a checkpoint."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._stage = ""
        self._stopping = False
        self.saved: int | None = None
        """The step of the last checkpoint."""

    def interrupt(self, *_: object) -> None:
        """Handles SIGINT. Raises KeyboardInterrupt where no step would end soon, and the second time."""
        if self._stopping or self._stage not in _ASKED:
            raise KeyboardInterrupt
        self._stopping = True
        console.print("stopping after this step, with a checkpoint; Ctrl-C again stops at once")

    def event(self, type: str, data: dict[str, Any]) -> None:
        if type == "stage":
            self._stage = data["name"]
            if self._stopping:  # the step was the last one of its stage
                raise KeyboardInterrupt
        elif type == "checkpoint":
            self.saved = data["step"]
        elif type == "progress" and "step" in data:
            speed = f" · {data['images_per_s']:.0f} images/s" if "images_per_s" in data else ""
            unit = "generation" if data.get("stage") == "search" else "epoch"
            text = f"{unit} {data['epoch']}/{data['epochs']}{speed}"
            self._bar(data.get("stage", "train"), data["step"], data["steps"], text)
        elif type == "progress":
            self._bar(data["stage"], data["done"], data["total"], "")
        elif type == "log":
            style = "yellow" if data.get("level") == "warning" else None
            console.print(escape(valid_unicode(data["message"])), style=style, highlight=False)

    def directive(self) -> Directive:
        return "pause" if self._stopping else "continue"

    def _bar(self, name: str, done: int, total: int, text: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, text=text)
        self._progress.update(self._bars[name], completed=done, total=total, text=text)


@app.command()
def train(
    spec_file: Annotated[Path, typer.Argument(help="YAML or JSON file with a run spec.")],
    folder: Annotated[str, typer.Option(help="Where checkpoint, adapter and result go.")] = "run",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew over the run in the folder.")] = False,
) -> None:
    """Train one spec here and print its result. Paths in the spec count from the working folder.

    task.phase says what is measured. final (the default): the test images,
    once, to report. search: validation images, after every epoch, to choose
    settings by; test images stay closed. Where there are no validation images,
    a search sets a share of the training images aside. A final run trains on
    training and validation images, unless the data source says otherwise.
    """
    try:
        spec = validate(with_absolute_paths(read_spec_file(spec_file)))
    except SpecError as error:
        raise _failed("\n".join(str(fault) for fault in error.faults)) from error
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    progress = Progress(*columns, console=console, transient=True)
    bars = Bars(progress)
    try:
        with run_folder(folder, spec, resume=resume, overwrite=overwrite) as place, progress, _stoppable(bars):
            run = importlib.import_module("pace_core.run").run  # torch takes seconds to load, and may not be needed
            result = run(spec, bars, str(place), resume_from=str(place) if resume else None)
            progress.stop()
            console.print(_table(result))
            storage.write(str(place / RESULT), json.dumps(result.model_dump(mode="json"), indent=2).encode())
    except FolderRefused as error:
        raise _failed(str(error)) from error
    except RunError as error:
        raise _failed(f"{error.reason}: {error.message}") from error
    except (Interrupted, KeyboardInterrupt) as stopped:
        raise _failed(_how_to_go_on(bars, resume), code=130) from stopped


@contextmanager
def _stoppable(bars: Bars) -> Generator[None]:
    """Lets the bars decide what Ctrl-C does."""
    before = signal.signal(signal.SIGINT, bars.interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _how_to_go_on(bars: Bars, resume: bool) -> str:
    if bars.saved is not None:
        return f"stopped; the same command with --resume goes on from step {bars.saved:,}"
    if resume:
        return "stopped; the same command goes on from the checkpoint that it began with"
    return "stopped before the first checkpoint; the same command with --resume begins anew"


@app.command()
def inspect(
    spec_file: Annotated[Path, typer.Argument(help="YAML or JSON file with a run spec.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print an object for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a CSV table with a row a class.")] = False,
) -> None:
    """Show what a run would find in its data, and its steps, without opening an image.

    With --json: {task, phase, data: {classes, images: {split: n}, from_validation, per_class: [{name, images: {split:
    n}, passed_over, left_out: {split: {why: n}}}], passed_over: [{why, count, examples}], duplicates: null,
    rare_classes, unmeasured_classes, unmeasured, alike}, warnings: [text], steps_per_epoch, epochs, steps,
    memory_bytes}.
    """
    _one_form(as_json, as_csv)
    try:
        spec = validate(with_absolute_paths(read_spec_file(spec_file)))
    except SpecError as error:
        raise _failed("\n".join(str(fault) for fault in error.faults)) from error
    with networks_only():
        inspection = importlib.import_module("pace_core.inspection")
    try:
        found = inspection.inspect(spec)
    except RunError as error:
        raise _failed(f"{error.reason}: {error.message}") from error
    if as_json:
        typer.echo(found.model_dump_json())
    elif as_csv:
        typer.echo(inspection.as_csv(found), nl=False)
    else:
        typer.echo(inspection.as_text(found))


data_app = typer.Typer(no_args_is_help=True, help="Where benchmarks' data lies on this machine, and what there is.")
app.add_typer(data_app, name="data")


def _say(line: str, style: str | None = None) -> None:
    """Prints a line as it is: where it is longer than the terminal is wide, its paths can still be copied."""
    console.print(escape(line), style=style, highlight=False, soft_wrap=True)


@data_app.command("check")
def data_check(
    benchmark: Annotated[str, typer.Argument(help="Such as vtab-1k, fgvc, few-shot or domain-adaptation.")],
    root: Annotated[str | None, typer.Option(help="Its folder; where None, where this machine says it lies.")] = None,
    sample: Annotated[int, typer.Option(min=0, help="How many images of each split to decode.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a CSV table with a row a task and split.")] = False,
) -> None:
    """Say of each task what is missing, misnamed, of another number, or broken. Exit code 1 where a run would fail.

    Lists are read whole, every file is looked for, and a sample of each split is decoded. Tasks whose data is not there
    are named; the others can be run without them.
    """
    _one_form(as_json, as_csv)
    from_ = load_benchmarks()
    if benchmark not in from_:
        raise _failed(f"there is no benchmark {benchmark!r}{did_you_mean(benchmark, from_)}")
    with networks_only():
        data = importlib.import_module("pace_core.data")
    path = None if root is None else str(Path(root).expanduser().absolute())
    found = list(data.check(from_[benchmark], data.find, path, sample))
    if as_json:
        typer.echo(json.dumps([vars(each) for each in found], indent=2))
    elif as_csv:
        typer.echo(data.as_csv(found), nl=False)
    else:
        for each in found:
            counts = ", ".join(f"{split} {count:,}" for split, count in each.images.items())
            _say(f"{'✗' if each.faults else '✓'} {each.task}  {counts}")
            for line in each.faults:
                _say(f"    {line}", "red")
            for line in each.warnings:
                _say(f"    {line}", "yellow")
        whole = sum(not each.faults for each in found)
        note = "" if whole == len(found) else "; the mean of the benchmark needs all"
        _say(f"{whole} of {len(found)} tasks can be run{note}")
    if any(each.faults for each in found):
        raise typer.Exit(1)


@data_app.command("make")
def data_make(
    benchmark: Annotated[str, typer.Argument(help="text-mini, the only one that is made out of a package.")],
    package: Annotated[Path, typer.Argument(help="vaderSentiment-3.3.2.tar.gz, as `pip download` leaves it.")],
    folder: Annotated[Path, typer.Argument(help="Where its files go.")],
) -> None:
    """Write a benchmark's files out of a package that holds its data, and keep where they lie.

    text-mini: `pip download --no-deps --no-binary :all: vaderSentiment==3.3.2`.
    """
    if benchmark != "text-mini":
        raise _failed(f"{benchmark} is not made out of a package; text-mini is")
    home = folder.expanduser().absolute()
    try:
        counts = importlib.import_module("pace_core.data.text_mini").make(package.expanduser(), home)
    except RunError as error:
        raise _failed(error.message) from error
    said = ", ".join(f"{task} {count:,} sentences" for task, count in counts.items())
    file = places.remember(benchmark, home)
    _say(f"{benchmark} lies in {home}: {said}; kept in {file}")


@data_app.command("add")
def data_add(
    benchmark: Annotated[str, typer.Argument(help="Such as vtab-1k.")],
    folder: Annotated[Path, typer.Argument(help="Where it lies on this machine.")],
) -> None:
    """Tell this machine once where a benchmark lies; specs that give no task.path then find it.

    PACE_DATA=BENCHMARK=FOLDER (several separated as in PATH) does the same for one process, and wins.
    """
    if benchmark not in load_benchmarks():
        raise _failed(f"there is no benchmark {benchmark!r}{did_you_mean(benchmark, load_benchmarks())}")
    if not load_benchmarks()[benchmark].data:
        raise _failed(f"{benchmark} is drawn on the spot and needs no data")
    if not folder.expanduser().is_dir():
        raise _failed(f"there is no folder {folder} on this machine")
    file = places.remember(benchmark, folder.expanduser().absolute())
    _say(f"{benchmark} lies in {folder}; kept in {file}")
    _say(f"see what there is of it: python -m pace_core data check {benchmark}")


@data_app.command("fetch")
def data_fetch(
    benchmark: Annotated[str, typer.Argument(help="Such as vtab-1k, fgvc, few-shot or domain-adaptation.")],
    root: Annotated[Path, typer.Option(help="Folder to fetch it into; what is there is left as it is.")],
    task: Annotated[str | None, typer.Option(help="What this task needs alone.")] = None,
) -> None:
    """Download what is openly available of a benchmark's data, and say of the rest where to get it.

    The same command goes on where a download was cut off. Exit code 1 where a part that is open did not come.
    """
    from_ = load_benchmarks()
    if benchmark not in from_:
        raise _failed(f"there is no benchmark {benchmark!r}{did_you_mean(benchmark, from_)}")
    asked = from_[benchmark].task(task) if task is not None else None
    if task is not None and asked is None:
        names = [name for each in from_[benchmark].tasks for name in (each.name, *each.aliases)]
        raise _failed(f"{benchmark} has no task {task!r}{did_you_mean(task, names)}")
    fetching = importlib.import_module("pace_core.fetching")  # an HTTP client takes a tenth of a second to load
    parts = fetching.parts_of(from_[benchmark], asked)
    if not parts:
        raise _failed(f"{benchmark} is drawn on the spot, or nobody gives its data over the network: nothing to fetch")
    place = root.expanduser().absolute()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    marks = {"fetched": "✓", "there": "✓", "by_hand": "→", "failed": "✗"}
    outcomes: list[str] = []
    try:
        with Progress(*columns, console=console, transient=True) as progress:

            def told(part: Any) -> Any:
                bar = progress.add_task(part.name, total=part.bytes)
                return lambda done, total: progress.update(bar, completed=done, total=total)

            for each in fetching.fetch(from_[benchmark], parts, place, told):
                outcomes.append(each.outcome)
                terms = f" [{each.part.terms}]" if each.part.terms else ""
                style = "red" if each.outcome == "failed" else "yellow" if each.outcome == "by_hand" else None
                _say(f"{marks[each.outcome]} {each.part.name}{terms}")
                _say(f"    {valid_unicode(each.message)}", style)
    except RunError as error:
        raise _failed(error.message) from error
    _say(f"see what there is of it: pace data check {benchmark} --root {place}")
    if "failed" in outcomes:
        raise typer.Exit(1)


@app.command()
def predict(
    adapter: Annotated[str, typer.Argument(help="Path or URL of an adapter.safetensors, or a run's folder.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Image files, and folders whose images are all taken; or texts.")
    ] = None,
    lines: Annotated[str | None, typer.Option(help="A file with one text a line; - is standard input.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name, the likeliest first.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, faults included.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a CSV table with a row a class.")] = False,
) -> None:
    """Name the likeliest classes of each image, or of each text; give the score, or what a language model writes.

    What the adapter was trained on says which of both is meant. Of a pair of
    sentences a tab separates the two.

    What cannot be read is named on stderr, and the exit code is then 1. What a
    folder holds beside images is counted there by reason: hidden files, system
    folders, other endings.

    With --json: {images: [{path, classes: [{name, percent}], error}],
    passed_over: [{why, count, examples}]}; of texts {texts: [{text, classes,
    score, reply}]}.
    """
    _one_form(as_json, as_csv)
    try:
        content = adapter_content(adapter)
        if reads_text(content):
            return _predict_texts(content, adapter, prediction.texts_of(inputs or [], lines), top, as_json, as_csv)
    except RunError as error:
        raise _failed(error.message) from error
    if not inputs or lines is not None:
        raise _failed("the adapter was trained on images; name image files and folders")
    passed = Passed()
    found = list(prediction.image_files(inputs, passed))
    try:
        if all(isinstance(file, prediction.Answer) for file in found):
            answers = [file for file in found if isinstance(file, prediction.Answer)]
        else:
            with networks_only():
                inference = importlib.import_module("pace_core.inference")
            answers = inference.answers(content, adapter, found, top)
    except RunError as error:
        raise _failed(error.message) from error
    if as_json:
        typer.echo(prediction.as_json(answers, passed))
    elif as_csv:
        typer.echo(prediction.as_csv(answers), nl=False)
    else:
        for line in prediction.as_lines(answers):
            typer.echo(line)
    for line in prediction.as_notes(passed):
        typer.secho(line, fg="yellow", err=True)
    faults = [answer for answer in answers if answer.error is not None]
    for answer in faults:
        typer.secho(escaped(answer.error or ""), fg="red", err=True)
    if faults:
        raise typer.Exit(1)


def _predict_texts(content: bytes, origin: str, texts: list[str], top: int, as_json: bool, as_csv: bool) -> None:
    file = importlib.import_module("pace_core.adapters").parse_adapter(content, origin)
    answers = importlib.import_module("pace_core.inference").answers_to_texts(file, texts, top)
    if as_json:
        typer.echo(prediction.texts_as_json(answers))
    elif as_csv:
        typer.echo(prediction.texts_as_csv(answers), nl=False)
    else:
        for line in prediction.as_lines(answers):
            typer.echo(line)


def _one_form(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise _failed("give --json or --csv, not both")


def _table(result: RunResult) -> Table:
    table = Table(show_header=False)
    for metric in result.metrics:
        count = f" of {metric.samples:,}" if metric.samples else ""
        value = (
            f"{100 * metric.value:.1f} %{count}"
            if metric.metric in ("accuracy", "exact_match")
            else f"{metric.value:.3f}"
        )
        table.add_row(f"{metric.split} {metric.metric}", f"{value}  (epoch {metric.epoch})")
    table.add_row("trained parameters", f"{result.trainable_parameters:,} ({result.adapter_parameters:,} without head)")
    speed = f", {result.images_per_s:.0f} images/s" if result.images_per_s else ""
    table.add_row("time", f"{result.seconds:.1f} s{speed}")
    table.add_row("peak memory", f"{result.peak_memory_bytes / 2**20:.0f} MiB")
    if result.adapter:
        table.add_row("adapter", result.adapter.uri)
    return table


def _failed(message: str, code: int = 1) -> typer.Exit:
    errors.print(escape(valid_unicode(message)), style="red", highlight=False)
    return typer.Exit(code)


def main() -> None:
    """Runs the command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 shows escapes instead of failing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="python -m pace_core")
