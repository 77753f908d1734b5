"""`predict` from the command line: files and folders in; what cannot be read is named and keeps nobody waiting."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pace_core.backbones.build import FAMILIES
from pace_core.commands import app
from pace_core.quick_start import NETWORKS
from pace_core.run import run
from pace_core.spec import RunSpec
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> str:
    folder = tmp_path_factory.mktemp("trained")
    spec = RunSpec.model_validate(
        {
            "task": {"name": "colours", "source": "image_folder", "path": str(pictures), "phase": "search"},
            "backbone": {"name": "pace_vit_mini", "image_size": 16},
            "method": {"name": "linear"},
            "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
        }
    )
    result = run(spec, Told(), str(folder))
    assert result.adapter
    return result.adapter.uri


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    """Three good images, one of them in a folder below, one cut off, a text, a hidden one, a link back to the top."""
    root = tmp_path / "photos"
    (root / "deep" / ".hidden").mkdir(parents=True)
    good = pictures / "test" / "red" / "0.png"
    for name in ("a.png", "b.PNG", "deep/c.png", "deep/.hidden/d.png"):
        shutil.copy(good, root / name)
    (root / "cut.png").write_bytes(good.read_bytes()[:60])
    (root / "notes.txt").write_text("no image")
    (root / "deep" / "back").symlink_to(root)
    return root


def predict(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["predict", *map(str, arguments)])


def test_a_folder_is_read_to_its_depth_and_the_rest_is_predicted_when_one_image_is_broken(
    adapter: str, photos: Path
) -> None:
    done = predict(adapter, photos, photos / "gone.png")
    assert done.exit_code == 1
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(photos / name) for name in ("a.png", "b.PNG", "deep/c.png")]
    assert all(
        name in ("red", "green", "blue") and 33 <= float(share.removesuffix(" %")) <= 100 for _, name, share in lines
    )
    faults = [line for line in done.stderr.splitlines() if not line.startswith("passed over:")]
    assert len(faults) == 2
    assert "cut.png" in done.stderr
    assert "gone.png cannot be opened (No such file or directory)" in done.stderr


def test_what_a_folder_holds_beside_images_is_counted_by_reason_and_never_left_out_in_silence(
    adapter: str, photos: Path
) -> None:
    (photos / "@eaDir").mkdir()
    shutil.copy(photos / "a.png", photos / "@eaDir" / "SYNOPHOTO_THUMB.png")
    (photos / "c.heif").write_bytes(b"x")
    done = predict(adapter, photos, "--json")
    said = json.loads(done.stdout)
    assert {one["why"]: one["count"] for one in said["passed_over"]} == {
        "hidden": 1,
        "system folder @eaDir": 1,
        "ending .txt": 1,
        "ending .heif": 1,
        "link that leads back": 1,
    }
    assert f"passed over: 1 ending .heif, such as {photos}/c.heif" in done.stderr.splitlines()
    assert len(predict(adapter, photos).stdout.splitlines()) == 3, "notes are no answers"
    assert predict(adapter, photos / "deep").exit_code == 0, "what is passed over is no fault"


def test_a_folder_that_cannot_be_listed_is_a_fault_and_the_rest_is_predicted(
    adapter: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: str) -> object:  # root, who runs tests, may list everything
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    done = predict(adapter, photos, photos / "deep")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 2
    assert f"the folder {photos}/deep cannot be listed (Permission denied); change its permissions" in done.stderr


def test_a_file_is_read_whatever_its_ending(adapter: str, photos: Path) -> None:
    shutil.copy(photos / "a.png", photos / "a.photo")
    assert predict(adapter, photos / "a.photo").exit_code == 0
    assert predict(adapter, photos / "notes.txt").exit_code == 1


def test_the_likeliest_classes_as_json_and_csv(adapter: str, photos: Path) -> None:
    said = json.loads(predict(adapter, photos, "--top", 3, "--json").stdout)["images"]
    assert [bool(answer["error"]) for answer in said] == [False, False, True, False]
    assert [len(answer["classes"]) for answer in said] == [3, 3, 0, 3]
    assert sum(one["percent"] for one in said[0]["classes"]) == pytest.approx(100, abs=0.02)
    rows = list(csv.DictReader(io.StringIO(predict(adapter, photos / "a.png", "--top", 99, "--csv").stdout)))
    assert [row["place"] for row in rows] == ["1", "2", "3"]
    assert [row["class"] for row in rows] == [one["name"] for one in said[0]["classes"]]
    assert predict(adapter, photos, "--csv", "--json").exit_code == 1


NAMES = [
    b"line\nbreak.png",
    b"tab\there.png",
    b"Pl\xe4tze.png",
    "🌼 'a\", b.png".encode(),
    b"\x1b[31mred.png",
    b"=1+1.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_output_survives_any_file_name(adapter: str, photos: Path, name: bytes) -> None:
    file = os.fsencode(photos) + b"/" + name
    shutil.copyfile(photos / "a.png", file)
    os.remove(photos / "cut.png")
    run_it = [sys.executable, "-m", "pace_core", "predict", adapter, os.fsencode(file)]
    if name == b"Pl\xe4tze.png":  # by its real process once: what a terminal that is ASCII gets
        done = subprocess.run(run_it, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Pl\\xe4tze.png\t" in done.stdout
    lines = predict(adapter, photos).stdout.splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in "".join(lines).split("\t"))
    said = json.loads(predict(adapter, photos, "--json").stdout)["images"]
    assert os.fsencode(file) in [os.fsencode(answer["path"]) for answer in said]
    rows = list(csv.DictReader(io.StringIO(predict(adapter, photos, "--csv").stdout)))
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("adapter_path", "says"),
    [
        ("gone.safetensors", "there is no adapter"),
        ("text.safetensors", "is not an adapter: it is not a safetensors file, or it was cut off"),
        ("empty", "there is no adapter"),
        ("s9://bucket/a.safetensors", "cannot be read: Protocol not known: s9"),
    ],
)
def test_paths_are_checked_before_torch_is_loaded(photos: Path, tmp_path: Path, adapter_path: str, says: str) -> None:
    (tmp_path / "text.safetensors").write_text("something else entirely")
    (tmp_path / "empty").mkdir()
    where = adapter_path if "://" in adapter_path else str(tmp_path / adapter_path)
    code = f"""
import sys
sys.argv = ["predict", "predict", {where!r}, {str(photos)!r}]
from pace_core.commands import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


USELESS = (
    "torch._dynamo",
    "torchvision",
    "torch.onnx",
    "sympy",
    "pace_core.methods.noah",
    "peft",
    "transformers",
    "ray",
    "sklearn",
    "timm.data.loader",
    "timm.models.beit",
    "timm.models.resnet",
)


def test_it_loads_nothing_that_a_prediction_has_no_use_for(adapter: str, photos: Path) -> None:
    code = f"""
import sys
sys.argv = ["predict", "predict", {str(Path(adapter).parent)!r}, {str(photos / "a.png")!r}]
from pace_core.commands import main
try:
    main()
finally:
    print([name for name in {USELESS} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0].startswith(f"{photos}/a.png\t"), done.stderr
    assert done.stdout.splitlines()[1] == "[]"


def test_it_knows_the_modules_of_all_networks_that_can_be_adapted() -> None:
    assert set(NETWORKS) == {module for modules in FAMILIES.values() for module in modules}


def test_a_checkpoint_is_no_adapter_and_a_folder_without_images_is_named(adapter: str, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    done = predict(Path(adapter).with_name("checkpoint.safetensors"), Path(adapter).parent)
    assert "it is a checkpoint; the adapter is written at the end" in " ".join(done.stderr.split())
    done = predict(adapter, tmp_path / "void")
    assert done.exit_code == 1
    assert "is a folder without images" in " ".join(done.stderr.split())
