"""Files that are no adapters, or not whole, or of an earlier version, are refused with a sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pace_core import storage
from pace_core.adapters import AdapterFile, adapter_bytes, read_adapter
from pace_core.commands import app
from pace_core.preprocessing import Preprocessing
from pace_core.run import run
from pace_core.spec import RunError, RunSpec
from pace_core.tensors import pack, unpack
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]


def core(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def edited(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    said = json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + content[8 + length :]


def changed_facts(**changes: Any) -> Callable[[bytes], bytes]:
    def change(header: dict[str, Any]) -> None:
        facts = json.loads(header["__metadata__"]["pace"])
        header["__metadata__"]["pace"] = json.dumps({**facts, **changes})

    return lambda content: edited(content, change)


def twice(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].strip()
    again = header[:-1] + b',"head.bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    return len(again).to_bytes(8, "little") + again + content[8 + length :]


def outside(header: dict[str, Any]) -> None:
    header["head.bias"]["data_offsets"] = [0, 2**40]


def spoilt(content: bytes) -> bytes:
    tensors, facts = unpack(content)
    tensors["head.weight"][0, 0] = float("inf")
    return pack(tensors, facts)


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda content: b"", "was cut off"),
    "half": (lambda content: content[: len(content) // 2], "is not an adapter"),
    "a header of 2 GB": (lambda content: (2**31).to_bytes(8, "little") + content[8:], "was cut off"),
    "a header nested without end": (
        lambda content: (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "its header is broken",
    ),
    "a tensor twice": (twice, "appears twice"),
    "a tensor outside the file": (lambda content: edited(content, outside), "its tensors cannot be read"),
    "infinity": (spoilt, "not finite numbers, in head.weight"),
    "no facts": (changed_facts(spec=None), "another version"),
    "a spec of a later version": (changed_facts(spec={"task": {"name": "a"}, "network": 1}), "another version"),
    "class names that are numbers": (changed_facts(class_names=[1, 2, 3]), "is not an adapter"),
    "another number of classes": (changed_facts(class_names=["a", "b"]), "does not fit"),
    "a class twice": (changed_facts(class_names=["a", "a", "b"]), "is not an adapter"),
    "an image size without end": (
        changed_facts(preprocessing={"image_size": 10**9, "mean": [0, 0, 0], "std": [1, 1, 1]}),
        "is not an adapter",
    ),
    "an image size that is no number": (
        changed_facts(preprocessing={"image_size": True, "mean": [0, 0, 0], "std": [1, 1, 1]}),
        "is not an adapter",
    ),
    "a mean of text": (
        changed_facts(preprocessing={"image_size": 16, "mean": ["a", 0, 0], "std": [1, 1, 1]}),
        "is an adapter of another version",
    ),
    "a std of two": (
        changed_facts(preprocessing={"image_size": 16, "mean": [0, 0, 0], "std": [1, 1]}),
        "three channels",
    ),
    "a crop larger than its image": (
        changed_facts(preprocessing={"image_size": 16, "mean": [0, 0, 0], "std": [1, 1, 1], "resize_to": 3}),
        "is not an adapter",
    ),
    "an unknown interpolation": (
        changed_facts(preprocessing={"image_size": 16, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "x"}),
        "is an adapter of another version",
    ),
    "preprocessing of no kind": (changed_facts(preprocessing=[1, 2]), "is not an adapter"),
    "another file's metadata": (
        lambda content: edited(content, lambda header: header.update(__metadata__={"format": "pt"})),
        "did not write",
    ),
}


@pytest.fixture(scope="module")
def good_adapter(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    spec = {
        "task": {"name": "colours", "source": "image_folder", "path": str(pictures), "phase": "search"},
        "backbone": {"name": "pace_vit_mini", "image_size": 16},
        "method": {"name": "linear"},
        "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
    }
    run(RunSpec.model_validate(spec), Told(), str(folder))
    return (folder / "adapter.safetensors").read_bytes()


@pytest.mark.parametrize(("spoil", "says"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_file_that_is_no_adapter_is_refused_with_a_sentence(
    spoil: Callable[[bytes], bytes], says: str, good_adapter: bytes, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(spoil(good_adapter))
    done = core("predict", str(tmp_path), str(pictures / "test" / "red" / "0.png"))
    assert done.exit_code == 1
    assert says in " ".join(done.stderr.split())
    assert isinstance(done.exception, SystemExit), "a sentence, no traceback"


@pytest.mark.parametrize("method", [{"name": "../../etc"}, {"name": "lora_add", "rank": True}, {"name": "peft:NONE"}])
def test_an_adapter_of_a_method_that_this_version_does_not_know_is_refused(
    method: dict[str, Any], good_adapter: bytes, pictures: Path, tmp_path: Path
) -> None:
    tensors, facts = unpack(good_adapter)
    (tmp_path / "adapter.safetensors").write_bytes(
        pack(tensors, {**facts, "spec": {**facts["spec"], "method": method}})
    )
    done = core("predict", str(tmp_path), str(pictures / "test" / "red" / "0.png"))
    assert done.exit_code == 1
    assert "this version does not know the method or its parameters" in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_a_name_of_a_tensor_leads_nowhere(good_adapter: bytes, pictures: Path, tmp_path: Path) -> None:
    def add(header: dict[str, Any]) -> None:
        header["../../../etc/passwd"] = header.pop("head.bias")

    (tmp_path / "adapter.safetensors").write_bytes(edited(good_adapter, add))
    done = core("predict", str(tmp_path), str(pictures / "test" / "red" / "0.png"))
    assert done.exit_code == 1
    assert "it has no head.bias" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["adapter.safetensors"]


@pytest.mark.parametrize(
    ("method", "change"),
    [("lora_add", "A and B have swapped their names"), ("ssf", "scales are saved as"), ("linear", None)],
)
def test_a_file_whose_tensors_meant_something_else_when_it_was_made_is_refused(
    method: str, change: str | None, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """Files of before carried no version; those of methods that have not changed are read as ever."""
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    file = AdapterFile(make_spec(method={"name": method}), ("red", "blue"), preprocessing, "hash", {})
    tensors, facts = unpack(adapter_bytes(file))
    storage.write(str(tmp_path / "new.safetensors"), pack(tensors, facts))
    assert read_adapter(str(tmp_path / "new.safetensors")) == file
    del facts["results_version"]
    storage.write(str(tmp_path / "old.safetensors"), pack(tensors, facts))
    if change is None:
        assert read_adapter(str(tmp_path / "old.safetensors")) == file
    else:
        with pytest.raises(
            RunError, match=rf"old.safetensors was made by an earlier version .*{change}.*train it again"
        ):
            read_adapter(str(tmp_path / "old.safetensors"))
