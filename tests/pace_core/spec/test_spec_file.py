"""A spec on disk means what its writer meant."""

from pathlib import Path

import pytest

from pace_core.spec import SpecError
from pace_core.spec.spec_file import missing_paths, on_disk, read_spec_file, with_absolute_paths


def test_a_rate_such_as_1e_3_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("optimizer: {lr: 1e-3, weight_decay: 1E+2}\ntask: {name: 1e-3x}\n", "utf-8")
    assert read_spec_file(file) == {"optimizer": {"lr": 1e-3, "weight_decay": 100.0}, "task": {"name": "1e-3x"}}


@pytest.mark.parametrize(
    ("text", "says"), [(None, "No such file"), ("a: [", "not YAML"), ("- a\n- b\n", "has no sections")]
)
def test_what_cannot_be_read_is_a_fault_that_names_the_file(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "spec.yaml"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(SpecError, match=says) as refused:
        read_spec_file(file)
    assert "spec.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nseed: 2\n", "the key 'seed' appears twice"),
        ("task: {name: a, name: b}", "the key 'name' appears twice"),
        ("seed: " + "9" * 5000, "not YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: 2024-13-45", "not YAML"),
    ],
    ids=["a section twice", "a field twice", "a number without end", "nested", "no such day"],
)
def test_what_yaml_would_take_in_silence_or_stumble_over_is_a_fault_too(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "spec.yaml").write_text(text, "utf-8")
    with pytest.raises(SpecError, match=says):
        read_spec_file(tmp_path / "spec.yaml")


def test_paths_count_from_the_working_folder_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    raw = {
        "task": {
            "name": "flowers",
            "source": "csv",
            "path": "lists/../a.csv",
            "root": "~/photos",
            "val_path": "/v.csv",
        },
        "backbone": {"name": "vit", "weights": "net.pth"},
        "init_from": "run/adapter.safetensors",
        "seed": 1,
    }
    assert with_absolute_paths(raw) == {
        "task": {
            "name": "flowers",
            "source": "csv",
            "path": f"{tmp_path}/a.csv",
            "root": "/home/ann/photos",
            "val_path": "/v.csv",
        },
        "backbone": {"name": "vit", "weights": f"{tmp_path}/net.pth"},
        "init_from": f"{tmp_path}/run/adapter.safetensors",
        "seed": 1,
    }


@pytest.mark.parametrize(
    "raw",
    [
        {"backbone": {"name": "vit", "weights": "hub"}, "init_from": "job_0198"},
        {"task": {"path": "s3://bucket/photos"}, "init_from": "s3://bucket/a.safetensors"},
        {"task": {"path": 7}, "backbone": None, "init_from": ["a"]},
        {"task": {"path": "~nobody-here/photos"}},
        {},
    ],
)
def test_words_ids_urls_and_what_is_no_path_stay_as_they_are(raw: dict[str, object]) -> None:
    assert with_absolute_paths(raw) == raw


def test_of_a_pattern_of_shards_the_folder_must_be_there(tmp_path: Path) -> None:
    assert on_disk("/data/x/train-{0000..0009}.tar") == "/data/x"
    assert on_disk("/x-{0..9}.tar") == "/"
    assert on_disk("/data/{0..9}/x") == "/data/{0..9}/x"
    assert not missing_paths({"task": {"path": f"{tmp_path}/x-{{0..9}}.tar"}})
    (fault,) = missing_paths({"task": {"path": f"{tmp_path}/gone/x-{{0..9}}.tar"}})
    assert fault.pointer == "/task/path"
