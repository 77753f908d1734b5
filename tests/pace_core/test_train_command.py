"""`train` from the command line guards its folder: nothing is lost unasked, and faults are told before training."""

import errno
import fcntl
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pace_core import storage
from pace_core.commands import Bars, app
from pace_core.run import run
from pace_core.spec import Interrupted, validate
from pace_core.spec.spec_file import read_spec_file
from tests.pace_core.training.told import Told
from tests.small_disk import fill, small_disk

Train = Callable[..., Result]


@pytest.fixture
def train(pictures: Path, tmp_path: Path) -> Train:
    """Trains one epoch on the pictures in `tmp_path/out`; fields of `training` may be changed."""

    def run_it(*options: object, folder: object = "out", **training: Any) -> Result:
        write_spec(tmp_path, pictures, **training)
        where = str(folder) if "/" in str(folder) else str(tmp_path / str(folder))
        arguments = ["train", str(tmp_path / "spec.yaml"), "--folder", where, *map(str, options)]
        return CliRunner(env={"COLUMNS": "400"}).invoke(app, arguments)

    return run_it


def write_spec(folder: Path, pictures: Path, **training: Any) -> Path:
    spec = {
        "task": {"name": "colours", "source": "image_folder", "path": str(pictures), "phase": "final"},
        "backbone": {"name": "pace_vit_mini", "image_size": 16},
        "method": {"name": "linear"},
        "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8, **training},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    return folder / "spec.yaml"


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "run.lock"}


def refused(done: Result) -> str:
    assert done.exit_code == 1, done.stdout
    assert isinstance(done.exception, SystemExit), "a sentence, no traceback"
    return " ".join(done.stderr.split())


def test_zero_epochs_print_the_pretrained_models_table_and_keep_the_result(train: Train, tmp_path: Path) -> None:
    done = train(epochs=0, folder=tmp_path / "new" / "deep")
    assert done.exit_code == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert json.loads((tmp_path / "new" / "deep" / "result.json").read_text())["adapter"] is None


def test_another_specs_run_is_never_overwritten_unasked(train: Train, tmp_path: Path) -> None:
    assert train().exit_code == 0
    before = content(tmp_path / "out")
    said = refused(train(batch_size=4))
    assert "holds a run of another spec (adapter.safetensors, checkpoint.safetensors, result.json, spec.json)" in said
    assert "--overwrite" in said
    assert "this run, finished" in refused(train())
    assert content(tmp_path / "out") == before
    assert train("--overwrite", batch_size=4).exit_code == 0
    assert content(tmp_path / "out")["adapter.safetensors"] != before["adapter.safetensors"]


def test_a_folder_of_an_earlier_version_is_somebody_elses_run(train: Train, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter.safetensors").write_bytes(b"old")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "another spec" in refused(train())
    assert content(tmp_path / "out") == {"adapter.safetensors": b"old", "notes.txt": b"mine"}


def test_an_interrupted_run_goes_on_with_resume_alone(train: Train, pictures: Path, tmp_path: Path) -> None:
    spec = validate(read_spec_file(write_spec(tmp_path, pictures)))
    train(epochs=0, folder=tmp_path / "out")  # makes the folder as the command does
    (tmp_path / "out" / "result.json").unlink()
    (tmp_path / "out" / "spec.json").write_text(json.dumps(spec.json_dict()))
    with pytest.raises(Interrupted):
        run(spec, Told("pause", 2), str(tmp_path / "out"))
    assert "--resume goes on with it" in refused(train())
    assert "not both" in refused(train("--resume", "--overwrite"))
    said = refused(train("--resume", batch_size=4))
    assert "training.batch_size was 8 and is now 4" in said
    assert json.loads((tmp_path / "out" / "spec.json").read_text()) == spec.json_dict(), "it is still that run's"
    done = train("--resume")
    assert done.exit_code == 0, done.stderr
    assert "no checkpoint" not in done.stdout


@pytest.mark.parametrize("left", ["finished", "killed before the first checkpoint", "without its spec"])
def test_resuming_overwrites_no_other_specs_run_though_there_is_no_checkpoint(
    train: Train, tmp_path: Path, left: str
) -> None:
    assert train(epochs=0).exit_code == 0
    if left != "finished":
        (tmp_path / "out" / ("spec.json" if "spec" in left else "result.json")).unlink()
    before = content(tmp_path / "out")
    said = refused(train("--resume", epochs=0, batch_size=4))
    assert "holds a run of another spec" in said
    assert ("training.batch_size was 8 and is now 4" in said) == (left != "without its spec")
    assert content(tmp_path / "out") == before
    assert train("--overwrite", epochs=0, batch_size=4).exit_code == 0


def test_a_finished_run_without_a_checkpoint_is_not_begun_anew_by_resuming(train: Train, tmp_path: Path) -> None:
    assert train(epochs=0).exit_code == 0
    before = content(tmp_path / "out")
    said = refused(train("--resume", epochs=0))
    assert "holds this run, finished, without a checkpoint to go on from; name another with --folder" in said
    assert content(tmp_path / "out") == before
    (tmp_path / "out" / "result.json").unlink()  # as if it had been killed
    assert train("--resume", epochs=0).exit_code == 0
    (tmp_path / "out" / "spec.json").write_text("[")
    assert "cannot be read" in refused(train("--resume", epochs=0))


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Presses Ctrl-C when the run tells of the first event of that type, or stage of that name."""

    def at(wanted: str) -> None:
        told = Bars.event

        def event(self: Bars, type: str, data: dict[str, Any]) -> None:
            told(self, type, data)
            if wanted in (type, data.get("name")):
                monkeypatch.setattr(Bars, "event", told)
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Bars, "event", event)

    return at


def test_ctrl_c_ends_training_after_its_step_with_a_checkpoint_and_resume_ends_as_if_it_had_not_been(
    train: Train, tmp_path: Path, ctrl_c: Callable[[str], None]
) -> None:
    assert train(folder="whole", epochs=2).exit_code == 0
    ctrl_c("metrics")  # the end of the first epoch: the next step is finished, and is the last
    done = train(epochs=2)
    assert done.exit_code == 130
    assert isinstance(done.exception, SystemExit)
    assert "stopping after this step, with a checkpoint; Ctrl-C again stops at once" in done.stdout
    step = int(done.stderr.split("the same command with --resume goes on from step ")[1])
    assert step > 0
    assert train("--resume", epochs=2).exit_code == 0
    adapters = [(tmp_path / name / "adapter.safetensors").read_bytes() for name in ("whole", "out")]
    assert adapters[0] == adapters[1]


def test_ctrl_c_before_the_first_step_stops_at_once_and_says_how_to_begin_anew(
    train: Train, ctrl_c: Callable[[str], None]
) -> None:
    ctrl_c("data")
    done = train()
    assert done.exit_code == 130
    assert done.stderr == "stopped before the first checkpoint; the same command with --resume begins anew\n"
    assert train("--resume").exit_code == 0


def test_ctrl_c_while_the_result_is_measured_loses_no_training(train: Train, ctrl_c: Callable[[str], None]) -> None:
    before = signal.getsignal(signal.SIGINT)
    ctrl_c("evaluate")
    done = train()
    assert (done.exit_code, done.exception.__class__) == (130, SystemExit)
    assert "goes on from step" in done.stderr
    assert train("--resume").exit_code == 0
    assert signal.getsignal(signal.SIGINT) is before, "whoever comes after has Ctrl-C as before"


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("/proc/nope", "/proc/nope cannot be written"),
        ("FILE/below", "cannot be written: "),
        ("FILE", "is a file"),
        ("s3://bucket/run", "is a URL"),
        ("/dev/null", "is a file"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_before_training(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, says: str
) -> None:
    (tmp_path / "file").write_text("precious")
    monkeypatch.setattr("pace_core.run.run", None)
    assert says in refused(train(folder=folder.replace("FILE", str(tmp_path / "file"))))
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_named_before_training(train: Train, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    assert "Permission denied" in refused(train())


def test_two_processes_do_not_train_in_one_folder(train: Train, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "run.lock").open("w") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another run trains in" in (said := refused(train()))
        assert "(process 4711)" in said
    assert train().exit_code == 0


def test_a_full_disk_is_told_before_training_and_leaves_nothing_in_the_way(train: Train, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        (disk / "out").mkdir()
        filler = fill(disk)
        said = refused(train(folder=disk / "out"))
        assert "No space left on device" in said or "disk_full: no room for" in said
        filler.unlink()
        assert train(folder=disk / "out").exit_code == 0


def test_a_disk_that_fills_up_in_training_is_told_and_the_run_goes_on_when_there_is_room(
    train: Train, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        filler = fill(disk, leaving=12_288)  # for lock and spec, not for a checkpoint
        said = refused(train(folder=disk / "out"))
        assert re.fullmatch(r"disk_full: no room for .*/checkpoint.safetensors \(.* bytes\); free .*", said), said
        filler.unlink()
        assert "--resume goes on with it" in refused(train(folder=disk / "out"))
        assert train("--resume", folder=disk / "out").exit_code == 0


def test_a_disk_that_is_full_at_the_end_leaves_the_table_and_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write

    def full(url: str, data: bytes) -> None:
        if url.endswith("result.json"):
            raise_enospc(url)
        write(url, data)

    def raise_enospc(url: str) -> None:
        monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", no_room)
        write(url, b"x")

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "write", full)
    done = train()
    assert "disk_full: no room for" in refused(done)
    assert "test accuracy" in done.stdout


def test_paths_in_the_spec_count_from_the_working_folder(
    train: Train, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photos").symlink_to(pictures)
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = write_spec(tmp_path, Path("photos"), epochs=0)
    done = CliRunner().invoke(app, ["train", str(spec)])
    assert done.exit_code == 0, done.stderr
    said = json.loads((tmp_path / "elsewhere" / "run" / "spec.json").read_text())
    assert said["task"]["path"] == str(tmp_path / "elsewhere" / "photos")


def test_the_help_says_what_a_phase_measures() -> None:
    said = " ".join(CliRunner(env={"COLUMNS": "200"}).invoke(app, ["train", "--help"]).output.split())
    assert "task.phase says what is measured. final (the default): the test images" in said
    assert "search: validation images, after every epoch" in said
