"""Monday morning as the README tells it: 300 photos, a search on validation images, a table, an adapter, a teammate."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]

CLASSES = ("disc", "square", "triangle", "cross", "ring", "stripes")
PER_CLASS = 50


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


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the engineer works in: photos and a spec."""
    folder, rng = tmp_path_factory.mktemp("monday"), np.random.default_rng(0)
    for kind in CLASSES:
        (folder / "photos" / kind).mkdir(parents=True)
        for number in range(PER_CLASS):
            draw(kind, rng).save(folder / "photos" / kind / f"{number:03}.png")
    spec = {
        "task": {"name": "my-photos", "source": "image_folder", "path": "photos"},
        "backbone": {"name": "pace_vit_mini"},
        "method": {"name": "lora_add", "rank": 8},
        "regularizer": {"name": "pace", "sigma": 0.5, "lambda": 0.1},
        "optimizer": {"lr": 5e-3},
        "training": {"epochs": 3, "batch_size": 32},
    }
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

    looked = mine.pace("submit", "photos.yaml", "--dry-run")
    assert "stripes" in looked
    assert "all 6" in looked
    assert "steps" in looked

    search = ("sweep", "photos.yaml", "--set", "regularizer.sigma=0.2,1", "--set", "regularizer.lambda=0.02,0.5")
    assert "4 trials by grid" in mine.pace(*search, "--dry-run")
    found = mine.pace(*search, "--seeds", "0,1")
    assert "validation images" in found
    assert "95 % interval" in found
    assert "lora_add + pace" in found, "it ends with the table of its best"

    report = ("suite", "submit", "photos.yaml", "--regularizers", "none,pace", "--seeds", "0,1")
    assert "lora_add + pace minus lora_add" in " ".join(mine.pace(*report).split())
    assert "0 to run, 4 done already" in mine.pace(*report), "done once is done"
    compared = list(csv.DictReader(io.StringIO(mine.pace("compare", "my-photos", "--csv"))))
    assert {row["n"] for row in compared} == {"2"}
    assert {row["row"].partition(" (")[0] for row in compared} == {"lora_add", "lora_add + pace"}
    assert all(float(row["mean"]) > 1 / 6 + 0.3 for row in compared), "30 points above chance"
    assert "paired" in {row["pairing"] for row in compared}
    picture = ElementTree.fromstring(mine.pace("compare", "my-photos", "--svg"))
    assert len(picture.findall("{*}circle")) >= 4
    assert "lora_add + pace" in mine.pace("leaderboard", "my-photos")

    jobs = json.loads(mine.pace("jobs", "--row", "lora_add + pace", "--json"))
    adapter = mine.pace("download", jobs[0]["id"]).strip()
    assert adapter == f"my-photos-lora_add-pace-seed{jobs[0]['seed']}.safetensors"
    answers = list(csv.DictReader(io.StringIO(mine.pace("predict", adapter, "photos/disc", "--csv"))))
    assert len({row[next(iter(row))] for row in answers}) == PER_CLASS

    mine.pace("key", "create", "grace", "--save", "grace.json")
    hers = Desk(desk, tmp_path / "her home")
    hers.pace("connect", "grace.json")
    hers.pace("submit", "photos.yaml", "--name", "hers", "--set", "training.epochs=1")
    hers.pace("watch")
    assert "grace" in mine.pace("jobs", "--owner", "grace")
