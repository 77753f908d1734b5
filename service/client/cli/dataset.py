"""`pace dataset`: folders of images that are uploaded once, and then named in jobs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pace_core.spec.suggest import did_you_mean
from service.client import Client, DatasetView
from service.client.cli.output import (
    AsCsv,
    AsJson,
    ago,
    cell,
    err,
    failed,
    form,
    out,
    plain,
    print_as,
    print_table,
    print_text,
    table,
)
from service.client.cli.waiting import Standing, wait_with_bar

app = typer.Typer(help="Folders of images that are uploaded once, and then named in jobs.", no_args_is_help=True)
_Name = Annotated[str, typer.Argument(help="Its name or id.")]
_COLUMNS = ("id", "name", "project", "owner", "state", "bytes", "received", "sha256", "job", "created_at")


def install(pace: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(upload)
    app.command("list")(list_)
    app.command()(show)
    app.command()(delete)
    pace.add_typer(app, name="dataset")


def upload(
    path: Annotated[Path, typer.Argument(help="A folder, or a zip or tar file of one.")],
    name: Annotated[str | None, typer.Option(help="By which jobs name it; that of the folder if none.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the check.")] = False,
) -> None:
    """Upload a folder of images; a worker then counts and decodes every one of them.

    Class folders, a CSV of paths and labels beside its images, parquet files, what
    HF's save_to_disk wrote, or WebDataset shards: the check sees which it is.

    The same command goes on where an upload was interrupted.
    """
    columns = (TextColumn("upload"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Client() as client:
        with Progress(*columns, console=err(), transient=True) as progress:
            bar = progress.add_task("upload", total=None)
            found = client.datasets.upload(
                path, name, told=lambda done, total: progress.update(bar, completed=done, total=total)
            )
        out().print(f"[green]uploaded[/] {plain(found.name)}  {found.id}")
        if not detach:
            found = wait_with_bar(
                found,
                lambda: client.datasets.get(found.id),
                lambda now: now.state == "checking",
                lambda _: Standing(0, 1, "a worker checks the images", timed=False),
                lambda: "",
                unit="check",
                goes_on=f"the check goes on without you: pace dataset show {found.name}",
            )
            _show(found)
        print_text(f"name it in a spec: task: {{name: {found.name}, source: uploaded, dataset: {found.name}}}")
    if found.state == "failed":
        raise failed(
            f"{found.name} cannot be used as it is; mend it, `pace dataset delete {found.name}`, upload it again"
        )


def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List uploaded data sets, newest first."""
    shape = form(as_json, as_csv)
    with Client() as client:
        found = list(client.datasets.list(limit=limit))
    records = [each.model_dump(mode="json") for each in found]
    print_as(shape, data=records, rows=records, columns=_COLUMNS, show=lambda: _print_list(found))


def _print_list(found: list[DatasetView]) -> None:
    shown = table("name", "state", ">images", ">bytes", "owner", "uploaded", "id")
    for each in found:
        images = f"{sum(each.data.images.values()):,}" if each.data else ""
        sizes = (cell(each.name), each.state, images, f"{each.bytes:,}")
        shown.add_row(*sizes, cell(each.owner), ago(each.created_at), each.id)
    print_table(shown)


def show(dataset: _Name, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show what a data set holds, and what is wrong with it."""
    shape = form(as_json, as_csv)
    with Client() as client:
        found = _find(client, dataset)
    record: dict[str, Any] = found.model_dump(mode="json")
    print_as(shape, data=record, rows=[record], columns=_COLUMNS, show=lambda: _show(found))


def delete(dataset: _Name) -> None:
    """Delete a data set with its files; jobs that ran on it keep their results."""
    with Client() as client:
        found = _find(client, dataset)
        client.datasets.delete(found.id)
    out().print(f"deleted {plain(found.name)}")


def _find(client: Client, dataset: str) -> DatasetView:
    found = list(client.datasets.list())
    named = [each for each in found if dataset in (each.id, each.name)]
    if not named:
        raise failed(f"there is no data set {dataset!r}{did_you_mean(dataset, [each.name for each in found])}")
    return named[0]


def _show(found: DatasetView) -> None:
    print_text(f"{found.name}  {found.state}  {found.bytes:,} bytes, {found.received:,} of them received")
    if found.message:
        print_text(f"  {found.message}")
    if found.data is None:
        return
    counts = ", ".join(f"{split} {count:,}" for split, count in found.data.images.items())
    print_text(f"  {found.data.classes:,} classes; {counts}")
    for passed in found.data.passed_over:
        print_text(f"  passed over: {passed.count:,} {passed.why}, such as {', '.join(passed.examples[:1])}")
