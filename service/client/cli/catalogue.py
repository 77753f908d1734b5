"""`pace catalogue`: what a spec can name, known without a service."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pace_core.spec.benchmarks import load_benchmarks
from pace_core.spec.catalogue import Entry, load_catalogue
from pace_core.spec.recipes import load_recipes
from pace_core.spec.suggest import did_you_mean
from service.catalogue.schemas import Kind
from service.client.cli.output import failed, out, plain, print_table, table


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(catalogue)


def catalogue(
    kind: Annotated[Kind, typer.Argument()] = Kind.METHODS,
    name: Annotated[str | None, typer.Argument(help="One method, regularizer or source: its parameters.")] = None,
) -> None:
    """List methods, regularizers, sources, backbones, benchmarks or recipes."""
    if name is not None:
        return _parameters(_named(kind, name))
    match kind:
        case Kind.METHODS:
            _entries(load_catalogue().methods)
        case Kind.REGULARIZERS:
            _entries(load_catalogue().regularizers)
        case Kind.SOURCES:
            _entries(load_catalogue().sources)
        case Kind.BACKBONES:
            _backbones()
        case Kind.BENCHMARKS:
            _benchmarks()
        case Kind.RECIPES:
            _recipes()


def _named(kind: Kind, name: str) -> Entry:
    catalogue = load_catalogue()
    with_parameters: dict[Kind, Mapping[str, Entry]] = {
        Kind.METHODS: catalogue.methods,
        Kind.REGULARIZERS: catalogue.regularizers,
        Kind.SOURCES: catalogue.sources,
    }
    if kind not in with_parameters:
        raise failed(f"{kind} are listed whole; a name goes with {', '.join(with_parameters)}")
    entries = with_parameters[kind]
    if name not in entries:
        hint = did_you_mean(name, entries) or f"; `pace catalogue {kind}` lists what there is"
        raise failed(f"there is no {name!r} among the {kind}{hint}")
    return entries[name]


def _entries(entries: Mapping[str, Entry]) -> None:
    shown = table("name", "title", "parameters", "paper")
    wrapped = [name for name in entries if name.startswith("peft:")]
    for entry in entries.values():
        if entry.name in wrapped:
            continue
        parameters = ", ".join(_parameter(key, field) for key, field in _fields(entry).items())
        shown.add_row(entry.name, plain(entry.title), plain(parameters), plain(entry.paper))
    print_table(shown)
    if wrapped:
        out().print(f"and {len(wrapped)} tuners of HF peft, with its own configurations: {', '.join(wrapped)}")
        out().print(f"[dim]one's parameters: pace catalogue methods {wrapped[0]}[/]")


def _parameters(entry: Entry) -> None:
    out().print(f"[bold]{plain(entry.name)}[/]  {plain(entry.title)}  {plain(entry.paper)}")
    if entry.summary:
        out().print(plain(entry.summary))
    shown = table("parameter", "default", "meaning")
    for key, field in _fields(entry).items():
        default = plain(field["default"]) if "default" in field else "[yellow]needed[/]"
        shown.add_row(plain(key), default, plain(field.get("description", "")))
    print_table(shown)


def _fields(entry: Entry) -> dict[str, dict[str, Any]]:
    return entry.params.get("properties", {})


def _parameter(key: str, field: Mapping[str, Any]) -> str:
    return f"{key}={field['default']}" if "default" in field else key


def _backbones() -> None:
    shown = table("name", "title", ">image", ">depth", ">width", ">parameters", ">GFLOP/image", "weights")
    for entry in load_catalogue().backbones.values():
        sizes = (entry.image_size, entry.depth, entry.width, f"{entry.parameters:,}", f"{entry.gflops:.2f}")
        weights = "ships" if entry.bundled else "hub or a file"
        shown.add_row(entry.name, plain(entry.title), *(str(size) for size in sizes), weights)
    print_table(shown)
    out().print("any other timm ViT or Swin works by its name")


def _benchmarks() -> None:
    shown = table("benchmark", "group", "task", ">classes", "source", "title")
    for benchmark in load_benchmarks().values():
        for task in benchmark.tasks:
            cells = (task.group, f"{benchmark.name}/{task.name}", str(task.num_classes), task.source)
            shown.add_row(benchmark.name, *cells, plain(task.title))
    print_table(shown)


def _recipes() -> None:
    shown = table("recipe", "row", "benchmark", "settings are", "title")
    for recipe in load_recipes().values():
        for row in recipe.rows:
            shown.add_row(recipe.name, plain(row.label), recipe.benchmark, recipe.origin, plain(recipe.title))
    print_table(shown)
    out().print("submit one with `pace submit --recipe RECIPE --row ROW --task TASK`")
