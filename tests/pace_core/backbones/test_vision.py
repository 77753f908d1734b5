"""Backbones: built by timm, weights from the package, a hub's cache or a file, every fault named before training."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pace_core.adapters import adapt_model
from pace_core.backbones import mini, vision
from pace_core.spec import Backbone, RunError, validate

SWIN = "swin_tiny_patch4_window7_224"
HUB = "vit_tiny_patch16_224.augreg_in21k"


@pytest.fixture
def trained() -> dict[str, Tensor]:
    """Weights of a network like the one that ships, classifier included, each tensor unlike the initial ones."""
    model = vision.load(Backbone(weights="none"), num_classes=3, drop_path=0.0).model
    rng = torch.Generator().manual_seed(7)
    return {name: 0.1 * torch.randn(tensor.shape, generator=rng) for name, tensor in model.state_dict().items()}


def google_npz(state: dict[str, Tensor], path: Path) -> None:
    """The layout of Google's JAX checkpoints: kernels (in, out), attention split into heads, one entry a layer."""
    heads, width = mini.ARCHITECTURE["num_heads"], mini.ARCHITECTURE["embed_dim"]
    said = {
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    for number in range(mini.ARCHITECTURE["depth"]):
        ours, theirs = f"blocks.{number}.", f"Transformer/encoderblock_{number}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        weights, biases = state[f"{ours}attn.qkv.weight"].chunk(3), state[f"{ours}attn.qkv.bias"].chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            said[f"{attention}{name}/kernel"] = weight.T.reshape(width, heads, width // heads)
            said[f"{attention}{name}/bias"] = bias.reshape(heads, width // heads)
        said[f"{attention}out/kernel"] = state[f"{ours}attn.proj.weight"].T.reshape(heads, width // heads, width)
        said[f"{attention}out/bias"] = state[f"{ours}attn.proj.bias"]
        for theirs_name, ours_name in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            said[f"{theirs}{theirs_name}/scale"] = state[f"{ours}{ours_name}.weight"]
            said[f"{theirs}{theirs_name}/bias"] = state[f"{ours}{ours_name}.bias"]
        for index in (0, 1):
            said[f"{theirs}MlpBlock_3/Dense_{index}/kernel"] = state[f"{ours}mlp.fc{index + 1}.weight"].T
            said[f"{theirs}MlpBlock_3/Dense_{index}/bias"] = state[f"{ours}mlp.fc{index + 1}.bias"]
    np.savez(path, **{name: tensor.numpy() for name, tensor in said.items()})  # pyright: ignore[reportArgumentType]


def timm_checkpoint(state: dict[str, Tensor], path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)


@pytest.mark.parametrize(
    ("file", "write"),
    [("w.safetensors", save_file), ("w.pth", torch.save), ("parallel.pth", timm_checkpoint), ("w.npz", google_npz)],
)
def test_a_weight_file_fills_all_but_the_classifier(
    file: str, write: Callable[[Any, Path], None], trained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / file
    write(trained, path)
    loaded = vision.load(Backbone(weights=str(path)), num_classes=3, drop_path=0.0)
    state = loaded.model.state_dict()
    assert {name for name in trained if not torch.equal(state[name], trained[name])} == {"head.weight", "head.bias"}
    assert loaded.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_swin_of_timm_keeps_its_function_through_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    original = timm.create_model(SWIN, num_classes=0, img_size=64).eval()
    save_file(original.state_dict(), tmp_path / "swin.safetensors")
    spec = Backbone(name=SWIN, weights=str(tmp_path / "swin.safetensors"), image_size=64)
    loaded = vision.load(spec, num_classes=5, drop_path=0.0)
    image = torch.rand(1, 3, 64, 64)
    assert (loaded.family, loaded.image_size) == ("swin", 64)
    model: Any = loaded.model.eval()
    assert torch.equal(model.forward_head(model.forward_features(image), pre_logits=True), original(image))
    assert model(image).shape == (1, 5)


def test_the_network_that_ships() -> None:
    loaded = vision.load(Backbone(), num_classes=10, drop_path=0.1)
    said = load_file(mini.WEIGHTS)
    state = loaded.model.state_dict()
    assert set(state) == {*said, "head.weight", "head.bias"}
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in said.items())
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert (loaded.image_size, loaded.family, loaded.mean) == (64, "vit", (0.485, 0.456, 0.406))
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in loaded.model.blocks]  # pyright: ignore
    assert rates == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08, 0.1])


def test_positions_are_resampled_for_another_image_size() -> None:
    own = load_file(mini.WEIGHTS)["pos_embed"].float()
    model = vision.load(Backbone(image_size=96), num_classes=2, drop_path=0.0).model
    grid = own[:, 1:].reshape(1, 8, 8, -1).permute(0, 3, 1, 2)
    resampled = F.interpolate(grid, (12, 12), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.state_dict()["pos_embed"], torch.cat([own[:, :1], resampled], 1))


@pytest.mark.parametrize(
    ("normalization", "mean", "std"),
    [
        ("weights", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ],
)
def test_normalization(normalization: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    spec = Backbone(name="vit_tiny_patch16_224", weights="none", normalization=normalization, image_size=32)
    loaded = vision.load(spec, num_classes=2, drop_path=0.0)
    assert (loaded.mean, loaded.std) == (mean, std)


def test_runs_share_no_tensors() -> None:
    first, second = (vision.load(Backbone(), num_classes=4, drop_path=0.0) for _ in range(2))
    before = {name: tensor.clone() for name, tensor in second.model.state_dict().items()}
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.zero_()
    third = vision.load(Backbone(), num_classes=4, drop_path=0.0)
    assert all(torch.equal(third.model.state_dict()[name], tensor) for name, tensor in before.items())


def test_random_weights_are_the_same_in_every_run_and_leave_the_generator_alone() -> None:
    spec = Backbone(weights="none", image_size=32)
    torch.manual_seed(1)
    first = vision.load(spec, num_classes=4, drop_path=0.0)
    drawn = torch.rand(1)
    vision._pretrained.cache_clear()
    torch.manual_seed(1)
    second = vision.load(spec, num_classes=4, drop_path=0.0)
    assert first.weights_hash == second.weights_hash
    assert torch.equal(first.model.head.weight, second.model.head.weight)  # pyright: ignore
    assert torch.equal(torch.rand(1), drawn)


def test_a_file_that_changed_is_read_again(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(trained, path)
    first = vision.load(Backbone(weights=str(path)), num_classes=2, drop_path=0.0)
    save_file({name: 2 * tensor for name, tensor in trained.items()}, path)
    second = vision.load(Backbone(weights=str(path)), num_classes=2, drop_path=0.0)
    assert first.weights_hash != second.weights_hash
    assert torch.equal(second.model.state_dict()["cls_token"], 2 * trained["cls_token"])


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("wrap", ["pickle", "torch"])
def test_a_pickle_that_runs_code_is_refused_unrun(wrap: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "exploded", tmp_path / "w.pth"
    if wrap == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace), protocol=2))
    else:
        torch.save({"cls_token": Bomb(trace)}, path)
    assert_refused(Backbone(weights=str(path)), "weights_missing", "cannot be read", "w.pth")
    assert not trace.exists()


def test_objects_in_an_npz_are_refused_unrun(tmp_path: Path) -> None:
    trace, path = tmp_path / "exploded", tmp_path / "w.npz"
    np.savez(path, **{"embedding/kernel": np.array([Bomb(trace)], dtype=object)})  # pyright: ignore[reportArgumentType]
    assert_refused(Backbone(weights=str(path)), "spec_invalid", "w.npz")
    assert not trace.exists()


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "w.npz"])
def test_a_missing_or_broken_file(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    assert_refused(Backbone(weights=str(path)), "weights_missing", "no file", file, "backbone.weights")
    path.write_bytes(b"not weights at all")
    assert_refused(Backbone(weights=str(path)), "weights_missing", "cannot be read", file)


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor / 2 for name, tensor in state.items()}


NESTED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}},
    "Lightning": lambda state: {"state_dict": {**prefixed(state, "model."), "loss.weight": torch.ones(3)}},
    "a teacher of DINO": lambda state: {"teacher": prefixed(state, "module.backbone."), "epoch": 1},
    "a network in a network": lambda state: prefixed(state, "net.encoder."),
    "the average beside the last": lambda state: {"state_dict": halved(state), "state_dict_ema": state},
    "three levels": lambda state: {"checkpoint": {"weights": {"net": state}}},
}


@pytest.mark.parametrize("wrap", NESTED.values(), ids=NESTED.keys())
def test_weights_are_found_wherever_a_checkpoint_keeps_them(
    wrap: Callable[[dict[str, Tensor]], Any], trained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save(wrap(trained), path)
    state = vision.load(Backbone(weights=str(path)), num_classes=3, drop_path=0.0).model.state_dict()
    assert {name for name in trained if not torch.equal(state[name], trained[name])} == {"head.weight", "head.bias"}


def test_of_several_that_fit_the_one_that_is_meant_must_be_saved_alone(
    trained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"student": prefixed(trained, "backbone."), "teacher": prefixed(halved(trained), "backbone.")}, path)
    said = "student.backbone., teacher.backbone.; save the tensors of the one you mean alone"
    assert_refused(Backbone(weights=str(path)), "spec_invalid", said)


def test_a_file_without_weights_says_what_it_holds(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "args": {"lr": 0.1}}, path)
    assert_refused(Backbone(weights=str(path)), "spec_invalid", "no tensors by name, but epoch, args")
    torch.save([1, 2], path)
    assert_refused(Backbone(weights=str(path)), "weights_missing", "it holds a list")
    torch.save({0: torch.zeros(3)}, path)
    assert_refused(Backbone(weights=str(path)), "spec_invalid", "no tensors by name")
    torch.save({"model": {"a": torch.zeros(1)}, "head": {"b": torch.zeros(1)}}, path)
    assert_refused(Backbone(weights=str(path)), "spec_invalid", "it holds tensors in model, head, none of which fits")


@pytest.mark.parametrize("beside", [np.float64(0.5), Path("/x"), nn.Linear(2, 2)], ids=lambda v: type(v).__name__)
def test_objects_beside_the_tensors_are_refused_in_our_words(
    beside: Any, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": trained, "best": beside}, path)
    with pytest.raises(RunError) as refused:
        vision.load(Backbone(weights=str(path)), num_classes=2, drop_path=0.0)
    assert "more than tensors" in refused.value.message
    assert "save the tensors alone" in refused.value.message
    assert "weights_only" not in refused.value.message


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "w.npz"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_their_tensors(
    file: str, value: float, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    spoilt = {name: tensor.clone() for name, tensor in trained.items()}
    spoilt["blocks.2.mlp.fc1.bias"][3] = value
    {"safetensors": save_file, "pth": torch.save, "npz": google_npz}[file.partition(".")[2]](spoilt, tmp_path / file)
    said = "not finite numbers, in blocks.2.mlp.fc1.bias"
    assert_refused(Backbone(weights=str(tmp_path / file)), "weights_missing", said)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        ((2**40).to_bytes(8, "little") + b"{}", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_what_is_no_weight_file_is_named_for_what_it_is(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert_refused(Backbone(weights=str(path)), "weights_missing", says)


def test_weights_of_another_network(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(trained, path)
    tiny = Backbone(name="vit_tiny_patch16_224", weights=str(path))
    assert_refused(tiny, "spec_invalid", "cls_token is (1, 1, 128), not (1, 1, 192)", "vit_tiny_patch16_224")
    save_file({**trained, "neck.weight": torch.zeros(2)}, path)
    assert_refused(Backbone(weights=str(path)), "spec_invalid", "neck.weight is not of this network")
    save_file({name: tensor for name, tensor in trained.items() if name != "norm.bias"}, path)
    assert_refused(Backbone(weights=str(path)), "spec_invalid", "norm.bias is missing")


def test_an_npz_with_more_blocks_than_the_network(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    google_npz(trained, path)
    with np.load(path) as file:
        extra = {name.replace("encoderblock_5", "encoderblock_6"): file[name] for name in file.files}
        np.savez(path.with_name("deep.npz"), **{**file, **extra})
    assert_refused(Backbone(weights=str(tmp_path / "deep.npz")), "spec_invalid", "7 blocks, not 6")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "vit_tiny_patch16_225"}, "did you mean 'vit_tiny_patch16_224'"),
        ({"name": "resnet18", "weights": "none"}, "neither a ViT nor a Swin"),
        ({"name": "vit_tiny_patch16_224.augreg_in22k"}, "did you mean 'vit_tiny_patch16_224.augreg_in21k'"),
        ({"name": "deit_tiny_distilled_patch16_224", "weights": "none"}, "two classifiers"),
        ({"image_size": 100}, "use 96"),
        ({"name": "vit_tiny_patch16_224", "weights": "bundled"}, "bundled"),
        ({"weights": "hub"}, "use bundled"),
    ],
)
def test_what_cannot_be_built(spec: dict[str, Any], says: str) -> None:
    assert_refused(Backbone(**spec), "spec_invalid", says, "backbone")


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_base_patch32_clip_224", "deit_tiny_patch16_224"])
def test_dinov2_deit_and_the_image_towers_of_clip_are_adapted_and_answer(name: str) -> None:
    raw = {
        "task": {"name": "vtab-mini/digits"},
        "backbone": {"name": name, "weights": "none", "image_size": 56 if "dinov2" in name else 64},
        "method": {"name": "lora_add", "rank": 2},
    }
    spec = validate(raw)
    model = vision.load(spec.backbone, num_classes=10, drop_path=0.0).model.eval()
    images = torch.rand(2, 3, spec.backbone.image_size or 0, spec.backbone.image_size or 0)
    features = model.forward_features(images)
    adapt_model(model, spec, torch.Generator().manual_seed(0))
    assert model(images).shape == (2, 10)
    torch.testing.assert_close(model.forward_features(images), features, rtol=1e-4, atol=1e-4)
    assert sum(p.requires_grad for n, p in model.named_parameters() if "head" not in n) >= 12 * 4


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    vision._pretrained.cache_clear()
    return tmp_path / "hub"


def test_an_unreachable_hub(offline_hub: Path) -> None:
    assert_refused(Backbone(name=HUB), "weights_missing", HUB, "none for random weights", "backbone.weights")


def test_weights_that_a_hub_does_not_have() -> None:
    assert_refused(Backbone(name="vit_small_patch16_36x1_224"), "weights_missing", "no pretrained weights")
    old = Backbone(name="vit_base_patch32_224_in21k")
    assert_refused(old, "weights_missing", "it has those of vit_base_patch32_224.orig_in21k;")


def test_weights_in_the_hubs_cache_serve_offline(offline_hub: Path) -> None:
    original = timm.create_model(HUB)
    snapshot = offline_hub / f"models--timm--{HUB}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(original.state_dict(), snapshot / "model.safetensors")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    loaded = vision.load(Backbone(name=HUB), num_classes=2, drop_path=0.0)
    said, state = original.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(state[name], said[name]) for name in state if not name.startswith("head."))
    assert loaded.mean == (0.5, 0.5, 0.5)


def assert_refused(spec: Backbone, reason: str, *says: str) -> None:
    with pytest.raises(RunError) as caught:
        vision.load(spec, num_classes=2, drop_path=0.0)
    assert caught.value.reason == reason
    assert not [part for part in says if part not in caught.value.message], caught.value.message
