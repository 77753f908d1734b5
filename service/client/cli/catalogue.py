"""`pace catalogue`: what a spec can name, known without a service."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from pace_core.spec.benchmarks import load_benchmarks, load_published
from pace_core.spec.catalogue import Entry, load_catalogue
from pace_core.spec.recipes import load_recipes
from pace_core.spec.section_entries import load_sections
from pace_core.spec.suggest import did_you_mean
from service.catalogue.schemas import Kind
from service.client.cli import published
from service.client.cli.output import (
    AsCsv,
    AsJson,
    Form,
    cell,
    failed,
    form,
    out,
    plain,
    print_csv,
    print_json,
    print_table,
    print_text,
    table,
)


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(catalogue)


def catalogue(
    kind: Annotated[Kind, typer.Argument()] = Kind.METHODS,
    name: Annotated[
        str | None,
        typer.Argument(help="One method, regularizer or source: its parameters; a published table: its rows."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX of what a published table quotes.")] = False,
) -> None:
    """List methods, regularizers, sources, backbones, benchmarks, recipes or published tables."""
    shape = form(as_json, as_csv, bibtex)
    if bibtex and kind is not Kind.PUBLISHED:
        raise typer.BadParameter("--bibtex goes with `pace catalogue published`, of all tables or of one")
    if bibtex:
        published.cite(name)
        return
    if kind is Kind.PUBLISHED and name is not None:
        published.show(name, shape)
        return
    entry = None if name is None else _named(kind, name)
    match shape:
        case Form.JSON if entry:
            print_json(entry.model_dump(mode="json"))
        case Form.JSON:
            print_json([model.model_dump(mode="json") for model in _models(kind)])
        case Form.CSV if entry:
            print_csv([{"parameter": key, **field} for key, field in _fields(entry).items()], _PARAMETER_COLUMNS)
        case Form.CSV:
            rows = _rows(kind)
            print_csv(rows, tuple(rows[0]))
        case Form.TABLE if entry:
            _parameters(entry)
        case Form.TABLE:
            _print(kind)


_PARAMETER_COLUMNS = ("parameter", "type", "default", "description")


def _models(kind: Kind) -> list[BaseModel]:
    known = load_catalogue()
    models: dict[Kind, Mapping[str, BaseModel]] = {
        Kind.METHODS: known.methods,
        Kind.REGULARIZERS: known.regularizers,
        Kind.SOURCES: known.sources,
        Kind.BACKBONES: known.backbones,
        Kind.SECTIONS: load_sections(),
        Kind.BENCHMARKS: load_benchmarks(),
        Kind.RECIPES: load_recipes(),
        Kind.PUBLISHED: load_published(),
    }
    return list(models[kind].values())


def _rows(kind: Kind) -> list[dict[str, object]]:
    """Returns what a table of that kind shows, a line each."""
    match kind:
        case Kind.BACKBONES:
            return [
                {
                    "name": entry.name,
                    "title": entry.title,
                    "image": entry.image_size,
                    "depth": entry.depth,
                    "width": entry.width,
                    "parameters": entry.parameters,
                    "GFLOP/image": round(entry.gflops, 2),
                    "weights": "ships" if entry.bundled else "hub or a file",
                }
                for entry in load_catalogue().backbones.values()
            ]
        case Kind.BENCHMARKS:
            return [
                {
                    "task": f"{benchmark.name}/{task.name}",
                    "group": task.group,
                    "classes": task.num_classes,
                    "source": task.source,
                    "title": task.title,
                }
                for benchmark in load_benchmarks().values()
                for task in benchmark.tasks
            ]
        case Kind.RECIPES:
            return [
                {
                    "recipe": r.name,
                    "row": row.label,
                    "benchmark": r.benchmark,
                    "settings are": r.origin,
                    "title": r.title,
                }
                for r in load_recipes().values()
                for row in r.rows
            ]
        case Kind.PUBLISHED:
            return [
                {
                    "name": each.name,
                    "benchmark": each.benchmark or "",
                    "rows": len(each.rows),
                    "source": each.source,
                    "title": each.title,
                }
                for each in load_published().values()
            ]
        case _:
            return [
                {
                    "name": entry.name,
                    "title": entry.title,
                    "parameters": ", ".join(_parameter(key, field) for key, field in _fields(entry).items()),
                    "paper": entry.paper,
                }
                for entry in _with_parameters()[kind].values()
            ]


def _print(kind: Kind) -> None:
    rows = [row for row in _rows(kind) if not str(row.get("name")).startswith("peft:")]
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    texts = ("title", "parameters", "paper")
    columns = [f">{key}" if key in numbers else f"~{key}" if key in texts else key for key in rows[0]]
    shown = table(*columns)
    for row in rows:
        shown.add_row(
            *(f"{value:,}" if key == "parameters" and key in numbers else cell(value) for key, value in row.items())
        )
    print_table(shown)
    wrapped = [name for name in load_catalogue().methods if name.startswith("peft:")]
    if kind is Kind.METHODS and wrapped:
        names = ", ".join(wrapped)
        print_text(f"and {len(wrapped)} tuners of HF peft, with its own configurations: {names}")
    notes = {
        Kind.METHODS: "one's parameters: pace catalogue methods lora_add",
        Kind.REGULARIZERS: "one's parameters: pace catalogue regularizers pace",
        Kind.SECTIONS: "one's fields: pace catalogue sections training",
        Kind.BACKBONES: "any other timm ViT or Swin works by its name",
        Kind.PUBLISHED: "one's numbers: pace catalogue published vtab-1k",
        Kind.RECIPES: "submit one with `pace submit --recipe RECIPE --row ROW --task TASK`",
    }
    if kind in notes:
        print_text(notes[kind])


def _with_parameters() -> dict[Kind, Mapping[str, Entry]]:
    known = load_catalogue()
    return {
        Kind.METHODS: known.methods,
        Kind.REGULARIZERS: known.regularizers,
        Kind.SOURCES: known.sources,
        Kind.SECTIONS: load_sections(),
    }


def _named(kind: Kind, name: str) -> Entry:
    with_parameters = _with_parameters()
    if kind not in with_parameters:
        raise failed(f"{kind} are listed whole; a name goes with {', '.join(with_parameters)}")
    entries = with_parameters[kind]
    if name not in entries:
        hint = did_you_mean(name, entries) or f"; `pace catalogue {kind}` lists what there is"
        raise failed(f"there is no {name!r} among the {kind}{hint}")
    return entries[name]


def _parameters(entry: Entry) -> None:
    out().print(f"[bold]{plain(entry.name)}[/]  {plain(entry.title)}  {plain(entry.paper)}")
    if entry.summary:
        print_text(entry.summary)
    shown = table("parameter", "default", "|meaning")
    for key, field in _fields(entry).items():
        default = plain(field["default"]) if "default" in field else "[yellow]needed[/]"
        shown.add_row(plain(key), default, plain(field.get("description", "")))
    print_table(shown)


def _fields(entry: Entry) -> dict[str, dict[str, Any]]:
    return entry.params.get("properties", {})


def _parameter(key: str, field: Mapping[str, Any]) -> str:
    return f"{key}={field['default']}" if "default" in field else key
