"""Files on the person's side: paths in specs, the adapter that is downloaded, images to predict."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pace_core.spec import estimate, load_catalogue, validate
from service.client import Client, JobRequest
from tests.service.api import Api
from tests.service.client.commands import Pace


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec with a relative path, in the folder that one is in."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            (tmp_path / "photos" / name / f"{i}.png").touch()
    file = tmp_path / "spec.yaml"
    task = {"name": "mine", "source": "image_folder", "path": "photos"}
    file.write_text(yaml.safe_dump({"task": task, "method": {"name": "linear"}}))
    return file


async def test_paths_are_made_absolute_and_a_tilde_is_the_home(
    pace: Pace, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(spec.parent / "home"))
    given = {(): spec.parent / "photos", ("--set", "task.path=~/cats"): spec.parent / "home" / "cats"}
    for override, path in given.items():
        assert (await pace("submit", spec, *override)).code == 0
        (job, *_) = json.loads((await pace("jobs", "--json")).out)
        assert job["spec"]["task"]["path"] == str(path)


def own_stack(base_url: str, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Makes the client believe that the service is this machine's own stack."""
    monkeypatch.setattr("service.local.record.Folder.running", lambda self: True)
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "client.json").write_text(json.dumps({"url": base_url, "key": key}))
    monkeypatch.setenv("PACE_STATE_DIR", str(tmp_path / "state"))


async def test_on_this_machines_stack_a_path_that_is_not_there_is_told_before_anything_is_queued(
    pace: Pace, api: Api, base_url: str, spec: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_stack(base_url, api.keys.user, monkeypatch, tmp_path)
    said = await pace("submit", spec, "--set", "task.path=phtoos")
    assert said.code == 1
    assert f"task.path: there is no {tmp_path / 'phtoos'} on this machine" in said.told
    assert json.loads((await pace("jobs", "--json")).out) == []
    assert (await pace("submit", spec)).code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "spec.yaml", "--set", "task.path=phtoos"),
        ("sweep", "typo.yaml", "--set", "method.rank=1,2"),
        ("study", "submit", "typo.yaml", "--trials", "2"),
        ("study", "submit", "spec.yaml", "--set", "task.path=phtoos"),
        ("suite", "submit", "typo.yaml", "--regularizers", "none,pace"),
        ("suite", "submit", "spec.yaml", "--set", "task.path=phtoos"),
        ("suite", "submit", "typo.yaml", "--set", "task.num_classes=2"),
        ("suite", "submit", "--task", "vtab-1k/cifar", "--rows", "Linear", "--set", "task.path=phtoos"),
    ],
)
async def test_nor_is_anything_of_a_sweep_a_study_or_a_suite(
    pace: Pace,
    api: Api,
    base_url: str,
    spec: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: tuple[str, ...],
) -> None:
    own_stack(base_url, api.keys.user, monkeypatch, tmp_path)
    raw = yaml.safe_load(spec.read_text()) | {"method": {"name": "lora_add"}}
    spec.write_text(yaml.safe_dump(raw))
    raw["task"]["path"] = "phtoos"
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(raw))
    detached = await pace(*command, "--detach")
    assert detached.code == 1
    assert f"path: there is no {tmp_path / 'phtoos'} on this machine" in detached.told
    for kind in ("jobs", "suites", "studies"):
        assert (await api.get(f"/v1/{kind}"))["data"] == []


async def test_a_dry_run_counts_the_images_of_the_folder_in_its_memory(
    pace: Pace, api: Api, base_url: str, spec: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_stack(base_url, api.keys.user, monkeypatch, tmp_path)
    many_images(tmp_path / "photos")
    said = await pace("submit", spec, "--set", "training.augmentation=crop_flip", "--dry-run")
    asked = validate(yaml.safe_load(said.out.split("\n\n")[0]))
    images = {"train": 9600, "test": 2400}
    needed, of_any = ((estimate(asked, load_catalogue(), each, "cpu").memory_bytes or 0) for each in (images, None))
    assert needed > of_any + 0.1 * 2**30
    assert f"memory about {needed / 2**30:.1f} GiB" in said.out, said.err


async def test_a_job_is_queued_by_the_memory_of_the_images_that_are_there(
    pace: Pace, api: Api, base_url: str, spec: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_stack(base_url, api.keys.user, monkeypatch, tmp_path)
    many_images(tmp_path / "photos")
    said = await pace("submit", spec, "--set", "training.augmentation=crop_flip", "--json")
    job = json.loads(said.out)
    assert job["spec"]["resources"].pop("images") == {"train": 9600, "test": 2400}
    other = await api.submit(spec=job["spec"])
    ((counted,), (assumed,)) = await api.sql(
        f"SELECT memory_bytes FROM jobs WHERE id IN ('{job['id']}', '{other}') ORDER BY id"
    )
    assert counted > assumed + 0.1 * 2**30


async def test_a_sweep_is_planned_by_the_images_that_are_there(
    pace: Pace, api: Api, base_url: str, spec: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ("sweep", spec, "--set", "optimizer.lr=0.001,0.01", "--dry-run", "--json")
    from_elsewhere = json.loads((await pace(*command)).out)["slot_minutes"]
    own_stack(base_url, api.keys.user, monkeypatch, tmp_path)
    there = json.loads((await pace(*command)).out)["slot_minutes"]
    assert there < from_elsewhere / 50  # ten images, and not a thousand


async def test_so_is_a_suite_and_a_folder_that_no_run_can_train_on_is_told_before_anything_is_queued(
    pace: Pace, api: Api, base_url: str, spec: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_stack(base_url, api.keys.user, monkeypatch, tmp_path)
    command = ("suite", "submit", spec, "--detach", "--json")
    suite = json.loads((await pace(*command)).out)
    jobs = (await api.get(f"/v1/jobs?suite={suite['id']}"))["data"]
    assert [job["spec"]["resources"]["images"] for job in jobs] == [{"train": 8, "test": 2}]
    shutil.rmtree(tmp_path / "photos" / "b")
    said = await pace(*command)
    assert (said.code, "class" in said.told) == (1, True), said.told
    assert len((await api.get("/v1/suites"))["data"]) == 1


def many_images(folder: Path) -> None:
    """Makes the images of the two classes 12,000 empty files, which nobody opens to count them."""
    for name in "ab":
        for i in range(5, 6000):
            os.link(folder / name / "0.png", folder / name / f"{i}.png")


async def test_a_download_replaces_nothing_unasked_and_has_a_name(
    pace: Pace, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = await api.submit(row="LoRA + PACE / sigma=0.5", seed=3)
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    await api.finish(uri=str(folder / "adapter.safetensors"))
    assert (await pace("download", job)).out == "digits-LoRA-PACE-sigma-0.5-seed3.safetensors\n"
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"years of work")
    said = await pace("download", job, mine)
    assert (said.code, mine.read_bytes()) == (1, b"years of work")
    assert "--overwrite" in said.told
    assert (await pace("download", job, mine, "--overwrite")).code == 0
    assert mine.read_bytes() == b"weights"
    assert "there is no folder" in (await pace("download", job, tmp_path / "no" / "a.safetensors")).told


async def test_a_session_in_python(api: Api, base_url: str, spec: Path) -> None:
    def session() -> list[str]:
        with Client(base_url, api.keys.user) as client:
            for seed in range(3):
                client.jobs.submit(JobRequest(spec=yaml.safe_load(spec.read_text()), seed=seed, tags={"a": "b"}))
            return [f"{job.task} {job.seed}" for job in client.jobs.list(tag="a=b", limit=2)]

    assert await asyncio.to_thread(session) == ["mine 2", "mine 1"]


def test_predicting_loads_nothing_of_the_client() -> None:
    code = "import sys; sys.argv[1:] = ['predict', '--help']; from service.pace import main\n"
    code += (
        "import os; os.execv = lambda *a: print(a[1][1:], sorted(m for m in sys.modules if m.startswith('service')))\n"
    )
    code += "import importlib; importlib.import_module = lambda name: sys.exit(name)\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "['-m', 'pace_core', 'predict', '--help'] ['service', 'service.pace']\n"
