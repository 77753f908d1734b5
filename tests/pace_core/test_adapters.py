"""The file that a run leaves is all that is needed to use it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from typer.testing import CliRunner, Result

from pace_core import methods, storage
from pace_core.adapters import Predictor, adapter_bytes, read_adapter
from pace_core.commands import app
from pace_core.decoding import decode
from pace_core.methods import lora_mul_vpt_add
from pace_core.preprocessing import Preprocessing
from pace_core.run import run
from pace_core.spec import RunError, RunSpec
from tests.pace_core.data.writing import squashed
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]
METHODS = [{"name": "full"}, {"name": "linear"}, {"name": "lora_mul_vpt_add", "rank": 4}]


def trained(spec: RunSpec, folder: Path) -> tuple[str, float]:
    result = run(spec, Told(), str(folder))
    accuracy = result.value("test")
    assert result.adapter
    assert accuracy is not None
    return result.adapter.uri, accuracy


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["name"])
def test_it_predicts_as_the_run_measured(
    method: dict[str, object], make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    uri, accuracy = trained(make_spec(method=method, task__phase="final", training={"epochs": 4}), tmp_path)
    predictor = Predictor(read_adapter(uri))
    assert isinstance(predictor.model, VisionTransformer)
    assert {type(m) for n, m in predictor.model.named_modules() if n.endswith(("qkv", "fc1", "head"))} == {nn.Linear}
    files = sorted((pictures / "test").rglob("*.png"))
    found = predictor.of_files([str(file) for file in files])
    right = [name == file.parent.name for (name, _), file in zip(found, files, strict=True)]
    assert sum(right) / len(right) == pytest.approx(accuracy)
    assert all(1 / 3 <= probability <= 1 for _, probability in found)


def test_it_carries_spec_labels_and_preprocessing(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(training={"epochs": 1})
    result = run(spec, Told(), str(tmp_path))
    assert result.adapter
    file = read_adapter(result.adapter.uri)
    assert file.spec == spec
    assert set(file.class_names) == {"red", "green", "blue"}
    assert file.preprocessing.image_size == 16
    assert file.weights_hash == result.provenance.weights_hash
    assert adapter_bytes(file) == storage.read(result.adapter.uri)


def test_on_another_backbone_it_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    result = run(make_spec(training={"epochs": 1}), Told(), str(tmp_path))
    assert result.adapter
    file = read_adapter(result.adapter.uri)
    other = file.spec.model_copy(update={"backbone": file.spec.backbone.model_copy(update={"weights": "none"})})
    with pytest.raises(RunError, match="other weights"):
        Predictor(file.__class__(other, file.class_names, file.preprocessing, file.weights_hash, file.tensors))


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"something else entirely")
    for name in ("a.safetensors", "gone.safetensors"):
        with pytest.raises(RunError) as refused:
            read_adapter(str(tmp_path / name))
        assert refused.value.reason == "weights_missing"
        assert name in refused.value.message


def test_a_run_may_start_from_it(make_spec: MakeSpec, tmp_path: Path) -> None:
    first = run(make_spec(training={"epochs": 3, "warmup_epochs": 0.5}), Told(), str(tmp_path / "1"))
    assert first.adapter
    spec = make_spec(training={"epochs": 0, "warmup_epochs": 0})
    second = run(spec.model_copy(update={"init_from": first.adapter.uri}), Told(), str(tmp_path / "2"))
    assert second.value("val") == first.value("val")


def test_an_adapter_of_another_method_cannot_be_started_from(make_spec: MakeSpec, tmp_path: Path) -> None:
    first = run(make_spec(method={"name": "linear"}, training={"epochs": 1}), Told(), str(tmp_path / "1"))
    assert first.adapter
    with pytest.raises(RunError, match="init_from") as refused:
        run(make_spec().model_copy(update={"init_from": first.adapter.uri}), Told(), str(tmp_path / "2"))
    assert refused.value.reason == "spec_invalid"


def test_a_backbone_that_the_method_does_not_fit_is_refused(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_swin = replace(lora_mul_vpt_add.METHOD, fits=frozenset({"swin"}))
    monkeypatch.setattr(methods, "find", lambda name: for_swin)
    with pytest.raises(RunError, match=r"method\.name: .* cannot adapt pace_vit_mini \(vit\); it fits swin") as refused:
        run(make_spec(), Told(), str(tmp_path))
    assert refused.value.reason == "spec_invalid"


def test_train_and_predict_work_from_the_command_line(pictures: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"""
task: {{name: colours, source: image_folder, path: "{pictures}", phase: final}}
backbone: {{name: pace_vit_mini, image_size: 16}}
method: {{name: linear}}
training: {{epochs: 1, warmup_epochs: 0, batch_size: 8}}
""")
    done = core("train", str(spec), "--folder", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    assert "test accuracy" in done.stdout
    picture = pictures / "test" / "red" / "0.png"
    done = core("predict", str(tmp_path / "out" / "adapter.safetensors"), str(picture))
    assert done.exit_code == 0, done.stderr
    assert done.stdout.split("\t")[1] in ("red", "green", "blue")


def test_the_command_line_names_every_fault(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("{task: {name: nothing}, method: {name: lora_ad}, seed: -1}")
    done = core("train", str(spec))
    assert done.exit_code == 1
    assert "lora_add" in done.stderr
    assert "task.source" in done.stderr
    assert isinstance(done.exception, SystemExit)


def core(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def test_a_file_is_read_for_a_prediction_as_it_was_for_training(make_spec: MakeSpec, tmp_path: Path) -> None:
    uri, _ = trained(make_spec(task__phase="final", training={"epochs": 1}), tmp_path)
    predictor = Predictor(read_adapter(uri))
    grey = np.random.default_rng(0).integers(0, 65536, (16, 16), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    as_trained = torch.tensor(decode(tmp_path / "deep.png", squashed(16)).pixels)[None]
    expected = float(predictor.probabilities(as_trained).max())
    assert predictor.of_files([str(tmp_path / "deep.png")])[0][1] == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    """Two classes of wide pictures that are alike but for their ends, which a square out of the middle leaves out."""
    ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], (24, 1, 3))
    for split in ("train", "val", "test"):
        for name, pixels in (("rising", ramp), ("falling", ramp[:, ::-1])):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                turned = Image.Exif()
                turned[0x0112] = 3
                image = Image.fromarray(np.ascontiguousarray(pixels)).rotate(180)
                image.save(tmp_path / split / name / f"{number}.png", exif=turned)
    return tmp_path


def test_a_prediction_sees_what_evaluation_saw_after_every_augmentation(
    make_spec: MakeSpec, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    whole = Preprocessing.__call__
    monkeypatch.setattr(Preprocessing, "__call__", lambda self, x, dtype: seen.append(x) or whole(self, x, dtype))
    for augmentation in ("none", "crop_flip"):
        training = {"epochs": 1, "augmentation": augmentation, "batch_size": 8}
        spec = make_spec(task={"path": str(strips), "phase": "final"}, method={"name": "linear"}, training=training)
        uri, _ = trained(spec, tmp_path / augmentation)
        evaluated = seen[-1]
        Predictor(read_adapter(uri)).of_files([str(file) for file in sorted((strips / "test").rglob("*.png"))])
        assert torch.equal(seen[-1], evaluated)
        ends = seen[-1][0, 8, [0, -1], 0].tolist()  # of the falling ramp, upright
        assert ends == pytest.approx([251, 4] if augmentation == "none" else [150, 105], abs=8)


def test_a_broken_file_is_named_whatever_the_decoder_says(make_spec: MakeSpec, tmp_path: Path) -> None:
    uri, _ = trained(make_spec(task__phase="final", training={"epochs": 1}), tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "broken.bmp")
    content = bytearray((tmp_path / "broken.bmp").read_bytes())
    content[18:26] = 2 * (60_000).to_bytes(4, "little")  # width and height: Pillow's own kind of error, no OSError
    (tmp_path / "broken.bmp").write_bytes(content)
    done = core("predict", uri, str(tmp_path / "broken.bmp"))
    assert done.exit_code == 1
    assert "broken.bmp cannot be decoded" in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_gradients_are_not_kept_by_a_predictor(make_spec: MakeSpec, tmp_path: Path) -> None:
    uri, _ = trained(make_spec(task__phase="final", training={"epochs": 1}), tmp_path)
    predictor = Predictor(read_adapter(uri))
    assert not predictor.probabilities(torch.zeros(1, 16, 16, 3, dtype=torch.uint8)).requires_grad


def test_the_head_is_taken_over_class_by_class_by_name(make_spec: MakeSpec, pictures: Path, tmp_path: Path) -> None:
    first = run(make_spec(training={"epochs": 3}), Told(), str(tmp_path / "1"))
    assert first.adapter
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for split in ("train", "val", "test"):
        (data / split / "blue").rename(data / split / "amber")  # three classes as before, and in another order
        shutil.copytree(data / split / "red", data / split / "violet")
    told = Told()
    spec = make_spec(task__path=str(data), init_from=first.adapter.uri, training={"epochs": 1}, optimizer__lr=1e-12)
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"min_lr": 0.0, "warmup_lr": 0.0})})
    second = run(spec, told, str(tmp_path / "2"))
    assert second.adapter
    old, new = read_adapter(first.adapter.uri), read_adapter(second.adapter.uri)
    assert new.class_names == ("amber", "green", "red", "violet")
    for name in ("green", "red"):
        there, here = old.class_names.index(name), new.class_names.index(name)
        assert torch.allclose(new.tensors["head.weight"][here], old.tensors["head.weight"][there], atol=1e-6)
        assert torch.allclose(new.tensors["head.bias"][here], old.tensors["head.bias"][there], atol=1e-6)
    assert torch.allclose(new.tensors["head.bias"][0], torch.zeros(()), atol=1e-6), "a new row begins afresh"
    (said,) = [log["message"] for log in told.of("log") if "init_from" in log["message"]]
    assert "2 of 4 classes keep their row of the head" in said
    assert "2 begin afresh (amber, violet)" in said
    assert "1 of the adapter's are not in this data (blue)" in said


def test_where_no_class_is_known_the_head_begins_afresh(make_spec: MakeSpec, pictures: Path, tmp_path: Path) -> None:
    first = run(make_spec(training={"epochs": 1}), Told(), str(tmp_path / "1"))
    assert first.adapter
    data = tmp_path / "data"
    for split in ("train", "val", "test"):
        for name in ("red", "green", "blue"):
            shutil.copytree(pictures / split / name, data / split / f"{name} flowers")
    told = Told()
    run(make_spec(task__path=str(data), init_from=first.adapter.uri, training={"epochs": 0}), told, str(tmp_path / "2"))
    assert any("0 of 3 classes keep their row" in line["message"] for line in told.of("log"))


def test_an_adapter_that_does_not_fit_names_what_does_not(make_spec: MakeSpec, tmp_path: Path) -> None:
    first = run(make_spec(method={"name": "lora_add", "rank": 2}, training={"epochs": 1}), Told(), str(tmp_path / "1"))
    assert first.adapter
    other = make_spec(method={"name": "lora_add", "rank": 4}, init_from=first.adapter.uri)
    misfit = r"init_from: .* does not fit: .*A.0 is \(2, \d+\) there and \(4, \d+\) here"
    with pytest.raises(RunError, match=misfit) as refused:
        run(other, Told(), str(tmp_path / "2"))
    assert refused.value.reason == "spec_invalid"
    plain = make_spec(backbone__weights="none", method={"name": "lora_add", "rank": 2}, init_from=first.adapter.uri)
    with pytest.raises(RunError, match="trained on other weights"):
        run(plain, Told(), str(tmp_path / "3"))
