"""The memory that a run is said to need, beside what it takes in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from pace_core.spec import RunResult, estimate, load_catalogue, merged, validate

TINY = {"name": "vit_tiny_patch16_224.augreg_in21k", "weights": "none"}
SWIN = {"name": "swin_tiny_patch4_window7_224.ms_in22k", "weights": "none"}
BUNDLED = {"name": "vtab-mini/digits", "train_images": 200}
LORA = {"method": {"name": "lora_add"}, "training": {"epochs": 1, "batch_size": 64}}
SPECS: dict[str, dict[str, Any]] = {
    "adapters": LORA,
    "adapters under PACE": {"task": BUNDLED, **LORA, "regularizer": {"name": "pace"}},
    "full, a large batch": {"task": BUNDLED, "method": {"name": "full"}, "training": {"epochs": 1, "batch_size": 200}},
    "a larger network": {"backbone": TINY, **merged(LORA, {"training": {"batch_size": 16}})},
    "a Swin": {"backbone": SWIN, **merged(LORA, {"training": {"batch_size": 16}})},
    "a Swin under PACE": {
        "backbone": SWIN,
        **merged(LORA, {"training": {"batch_size": 12}}),
        "regularizer": {"name": "pace"},
    },
    "many images": {"backbone": TINY, "method": {"name": "linear"}, "training": {"epochs": 0}},
}


@pytest.mark.parametrize(
    "name", ["adapters", *(pytest.param(name, marks=pytest.mark.slow) for name in SPECS if name != "adapters")]
)
def test_the_peak_is_within_a_quarter_of_the_estimate(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    if "task" not in spec:
        photographs(tmp_path / "data", train=2400 if name == "many images" else 128, test=36)
        spec = {**spec, "task": {"name": "mine", "source": "image_folder", "path": str(tmp_path / "data")}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "pace_core", "train", str(tmp_path / "spec.json")]
    subprocess.run([*command, "--folder", str(tmp_path / "run")], check=True, capture_output=True)
    result = RunResult.model_validate_json((tmp_path / "run" / "result.json").read_text())
    assert result.data is not None
    said = estimate(validate(spec), load_catalogue(), images=result.data.images).memory_bytes
    assert said == pytest.approx(result.peak_memory_bytes, rel=0.25)


def photographs(root: Path, **counts: int) -> None:
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for label in "ab":
            (root / split / label).mkdir(parents=True)
            for i in range(count // 2):
                pixels = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{i}.bmp")


def test_images_count_by_the_split_and_the_size_at_which_they_are_held() -> None:
    def said(augmentation: str = "none", **images: int) -> float:
        training = {"training": {"augmentation": augmentation}}
        spec = validate({"task": BUNDLED, "backbone": TINY, "method": {"name": "linear"}, **training})
        return (estimate(spec, load_catalogue(), images=images).memory_bytes or 0) / 2**20

    image = 3 * 224**2 / 2**20
    none = said(train=0, test=1000)
    assert said(train=10_000, test=1000) - none == pytest.approx(10_000 * image)
    assert said(train=0, test=1_000_000) - none == pytest.approx(256 - 1000 * image)  # the rest is streamed
    assert said("crop_flip", train=10_000, test=0) - said("crop_flip", train=0, test=0) == pytest.approx(
        10_000 * image * 256**2 / 224**2 * 4 / 3
    )


def test_a_run_with_more_kept_for_its_backward_pass_needs_more() -> None:
    def said(regularizer: str, **training: object) -> int:
        spec = {"task": BUNDLED, **LORA, "regularizer": {"name": regularizer}, "training": training}
        return estimate(validate(spec), load_catalogue()).memory_bytes or 0

    assert said("none") == said("sam") < said("pace") < said("gradient_penalty")
    assert said("none", batch_size=256, micro_batch=16) < said("none", batch_size=256)


def test_a_gpu_holds_neither_the_process_nor_activations_of_four_bytes() -> None:
    """The peak of this run on an H200, as torch counts it, was 9.0 GiB."""

    def said(device: Literal["cpu", "cuda"] | None = None) -> float:
        spec = {"task": BUNDLED, "backbone": {"name": "vit_base_patch16_224.augreg_in21k"}}
        spec |= {"method": {"name": "lora_mul_vpt_add"}, "training": {"batch_size": 64}}
        asked = validate({**spec, "regularizer": {"name": "pace"}})
        return (estimate(asked, load_catalogue(), {"train": 256, "test": 128}, device).memory_bytes or 0) / 2**30

    assert said("cuda") == pytest.approx(9.0, rel=0.25)
    assert said("cpu") == said() > 2 * said("cuda"), "it has room wherever it will run"
