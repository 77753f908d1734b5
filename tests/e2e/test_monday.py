"""Monday morning as the README tells it: 300 photos, a search on validation images, a table, an adapter, a teammate."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(2400)]

CLASSES = ("disc", "square", "triangle", "cross", "ring", "stripes")
PER_CLASS = 50
README = Path("README.md").read_text("utf-8")


def draw(kind: str, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """A shape of any colour, place and size on a noisy ground."""
    image = Image.fromarray(rng.integers(0, 90, (size, size, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in rng.integers(140, 256, 3))
    radius = int(rng.integers(12, 24))
    x, y = (int(rng.integers(radius, size - radius)) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    match kind:
        case "disc":
            pen.ellipse(box, fill=colour)
        case "square":
            pen.rectangle(box, fill=colour)
        case "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
        case "cross":
            pen.line((x - radius, y, x + radius, y), fill=colour, width=7)
            pen.line((x, y - radius, x, y + radius), fill=colour, width=7)
        case "ring":
            pen.ellipse(box, outline=colour, width=5)
        case _:
            for offset in range(-radius, radius + 1, 8):
                pen.line((x - radius, y + offset, x + radius, y + offset), fill=colour, width=3)
    return image


def between(begin: str, end: str) -> str:
    """The README from where it first says the one until it then says the other."""
    return README.partition(begin)[2].partition(end)[0]


def commands(begin: str, end: str) -> list[list[str]]:
    """The commands `pace …` of that part of the README, each as its arguments."""
    return [shlex.split(line)[1:] for line in re.findall(r"^ {4}(pace .*)$", between(begin, end), re.MULTILINE)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the engineer works in: photos and a spec."""
    folder, rng = tmp_path_factory.mktemp("monday"), np.random.default_rng(0)
    for kind in CLASSES:
        (folder / "photos" / kind).mkdir(parents=True)
        for number in range(PER_CLASS):
            draw(kind, rng).save(folder / "photos" / kind / f"{number:03}.png")
    for kind in CLASSES:
        (folder / "new-photos").mkdir(exist_ok=True)
        draw(kind, rng).save(folder / "new-photos" / f"{kind}.png")
    spec = yaml.safe_load(between("```yaml\n", "```"))
    spec["training"]["epochs"] = 3  # minutes, and not a quarter of an hour
    (folder / "photos.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder


class Desk:
    """Commands in that folder, as a person types them."""

    def __init__(self, folder: Path, home: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PACE_", "XDG_"))}
        self._environment = kept | {"HOME": str(home), "PYTHONPATH": os.getcwd()} | environment
        self._folder = folder

    def pace(self, *arguments: str) -> str:
        """What the command prints; it must succeed."""
        code = "from service.pace import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"pace {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout


def test_monday(stack: Stack, desk: Path, tmp_path: Path) -> None:
    mine = Desk(desk, tmp_path / "home", PACE_STATE_DIR=str(stack.folder.path))
    look, sweep, report, compare, draw_it = commands("## Your own photos", "**Whole tables.**")

    looked = mine.pace(*look)
    assert "stripes" in looked
    assert "all 6" in looked
    assert "steps" in looked

    planned = json.loads(mine.pace(*sweep, "--dry-run", "--json"))
    assert (planned["trials"], planned["final"]) == (6, 2)
    found = mine.pace(*sweep)
    assert "6 trials by grid" in found
    assert "validation images" in found
    assert "95 % interval" in found
    assert "lora_add + pace" in found, "it ends with the table of its best"

    assert "lora_add + pace minus lora_add" in " ".join(mine.pace(*report).split())
    assert "0 to run, 6 done already" in mine.pace(*report), "done once is done"
    compared = list(csv.DictReader(io.StringIO(mine.pace(*compare, "--csv"))))
    assert {row["row"].partition(" (")[0] for row in compared} == {"lora_add", "lora_add + pace"}
    assert {row["n"] for row in compared} <= {"2", "3"}
    assert all(float(row["mean"]) > 1 / 6 + 0.3 for row in compared), "30 points above chance"
    assert "paired" in {row["pairing"] for row in compared}
    assert draw_it[-2:] == [">", "table.svg"]
    picture = ElementTree.fromstring(mine.pace(*draw_it[:-2]))
    assert len(picture.findall("{*}circle")) >= 4
    assert "lora_add + pace" in mine.pace("leaderboard", "my-photos")

    list_them, download, predict = commands("**Use it.**", "## Where to look")
    assert "lora_add + pace" in mine.pace(*list_them)
    jobs = json.loads(mine.pace(*list_them, "--row", "lora_add + pace", "--state", "succeeded", "--json"))
    job = next(job for job in jobs if job["seed"] == 0 and job["phase"] == "final")
    assert f"{mine.pace(*(job['id'] if word == 'JOB' else word for word in download)).strip()}" == predict[1]
    answers = list(csv.DictReader(io.StringIO(mine.pace(*predict, "--csv"))))
    assert len({row[next(iter(row))] for row in answers}) == len(CLASSES)

    _, _, key = commands("## The teammate", "On the other laptop")
    connect, hers_too = commands("On the other laptop", "## From Python")
    mine.pace(*key)
    hers = Desk(desk, tmp_path / "her home")
    hers.pace(*connect)
    assert job["id"] in hers.pace(*hers_too, "--limit", "100")
    hers.pace("submit", "photos.yaml", "--name", "hers", "--again", "--set", "training.epochs=1")
    hers.pace("watch")
    assert "hers" in mine.pace("jobs", "--owner", "grace")
