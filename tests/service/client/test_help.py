"""What the command line offers and says of itself, and whether the pages' commands are commands of it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pace_core.commands import app as core
from service.client.cli.app import app

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "docs/reference.md", "docs/second-laptop.md", "docs/keys.md", "docs/operating.md")
USAGE = typer.BadParameter.__mro__[1]  # typer's own UsageError, which it does not export
PASSED_ON = ("train", "predict", "data")
LISTING = (
    "list",
    "show",
    "jobs",
    "logs",
    "workers",
    "status",
    "leaderboard",
    "compare",
    "catalogue",
    "audit",
    "limits",
)


def commands(command: Any, path: str = "pace") -> Iterator[tuple[str, Any]]:
    """Every command below, with the words that call it."""
    below = getattr(command, "commands", None)
    if below is None or command.invoke_without_command:
        yield path, command
    if below is None:
        return
    for name, each in below.items():
        yield from commands(each, f"{path} {name}")


PACE: dict[str, Any] = dict(commands(typer.main.get_command(app)))
CORE: dict[str, Any] = dict(commands(typer.main.get_command(core), "core"))


@pytest.mark.parametrize("path", [path for path in PACE if path.split()[-1] in LISTING])
def test_every_command_that_lists_or_shows_has_json_and_csv(path: str) -> None:
    options = {option for parameter in PACE[path].params for option in parameter.opts}
    assert {"--json", "--csv"} <= options


@pytest.mark.parametrize("path", ["core inspect", "core predict", "core data check"])
def test_so_have_the_cores(path: str) -> None:
    assert {"--json", "--csv"} <= {option for parameter in CORE[path].params for option in parameter.opts}


def test_submit_says_what_a_phase_means() -> None:
    said = " ".join((PACE["pace submit"].help or "").split())
    assert "task.phase says what is measured. final (the default): the test images, once, to report." in said
    assert "search: validation images, to choose settings by; the test images stay closed" in said


def of_page(page: str) -> list[tuple[str, bool]]:
    """The commands in a page, and whether each is whole: those of blocks are, those in sentences need not be."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"^ {4}(?:\.venv/bin/)?(pace .*)$", text, re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`(pace [^`]+)`", text)]
    named = [span for span in spans if span not in blocks and not set(span) & set("|…[<")]
    return [*((line, True) for line in dict.fromkeys(blocks)), *((span, False) for span in dict.fromkeys(named))]


@pytest.mark.parametrize(("page", "line", "whole"), [(page, *found) for page in PAGES for found in of_page(page)])
def test_a_command_of_the_pages_is_a_command(page: str, line: str, whole: bool) -> None:
    words = shlex.split(re.split(r" (?:>|\||&&|;) ", line)[0].replace("…", ""), comments=True)[1:]
    command: Any = typer.main.get_command(core if words[0] in PASSED_ON else app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        assert not words, "a sentence may name a group of commands, which there is"
        return
    try:
        command.make_context("pace", list(words))
    except typer.Exit:  # --help
        return
    except USAGE as error:
        message = error.format_message()
        if whole or not (message.startswith("Missing") or "requires an argument" in message):
            pytest.fail(f"{page}: {line}: {message}")


def test_the_readme_has_commands_to_check() -> None:
    assert sum(whole for _, whole in of_page("README.md")) > 10
