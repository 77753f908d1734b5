"""Domain adaptation: ImageNet's lists, its images flat or by class, and four other test sets."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pace_core.data import imagenet_shots
from pace_core.data._imagenet_subsets import IMAGENET_A, IMAGENET_R
from pace_core.spec import RunError
from pace_core.training.evaluate import accuracy, only
from tests.pace_core.data.benchmarks_on_disk import write_domains
from tests.pace_core.data.writing import Silent, squashed


def load(root: Path, phase: str = "final", **more: Any):
    params = imagenet_shots.Params.model_validate({"path": str(root), **more})
    return imagenet_shots.SOURCE.load(
        params, phase=phase, num_classes=None, preprocessing=squashed(4), reporter=Silent()
    )


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("lists", [True, False])
def test_one_training_five_tests_in_every_layout(tmp_path: Path, flat: bool, lists: bool) -> None:
    splits = load(write_domains(tmp_path, flat=flat, lists=lists))
    assert splits.num_classes == 1000
    assert splits.measured[1].labels.tolist() == [0, 1, 2]
    assert {target.task: sorted(target.images.labels.tolist()) for target in splits.targets} == {
        "imagenet-sketch": [0, 1],
        "imagenet-v2": [0, 2, 10],
        "imagenet-a": [6, 11, 13],
        "imagenet-r": [6, 11, 13],
    }
    for target in splits.targets:
        values = next(target.images.chunks(squashed(4), 8))[:, 0, 0, 0].tolist()
        assert values == target.images.labels.tolist(), "an image's grey value is its label"


def test_the_two_hundred_classes_are_those_of_the_data_sets() -> None:
    assert (len(set(IMAGENET_A)), len(set(IMAGENET_R)), len({*IMAGENET_A} & {*IMAGENET_R})) == (200, 200, 86)
    assert max(*IMAGENET_A, *IMAGENET_R) < 1000
    assert (IMAGENET_A[:3], IMAGENET_A[-1], IMAGENET_R[:3], IMAGENET_R[-1]) == ((6, 11, 13), 988, (1, 2, 4), 988)


def test_logits_of_own_classes_are_compared_only_where_asked(tmp_path: Path) -> None:
    root = write_domains(tmp_path)
    assert {target.classes for target in load(root).targets} == {None}
    own = {target.task: target.classes for target in load(root, logits="own").targets}
    assert own == {"imagenet-sketch": None, "imagenet-v2": None, "imagenet-a": IMAGENET_A, "imagenet-r": IMAGENET_R}
    logits = torch.tensor([[5.0, 1.0, 2.0, 0.0], [0.0, -9.0, -7.0, 3.0]])
    labels = torch.tensor([2, 2])
    assert accuracy(logits, labels) == 0.0
    assert accuracy(only(logits, (1, 2)), labels) == 1.0


def test_a_search_opens_no_test_image_and_leaves_out_what_the_draw_trains_on(tmp_path: Path) -> None:
    root = write_domains(tmp_path)
    shutil.rmtree(root / "domain-generalization")
    shutil.rmtree(root / "few-shot/imagenet/images/val")
    (root / "few-shot/imagenet/annotations/val_meta.list").unlink()
    splits = load(root, "search")
    assert splits.measured[1].labels.tolist() == [1]
    assert [passed.why for passed in splits.report.passed_over] == ["validation image that this draw trains on"]
    assert imagenet_shots.SOURCE.fingerprint(imagenet_shots.Params(path=str(root)), phase="search")
    with pytest.raises(RunError, match=r"val_meta\.list: there is no file"):
        load(root)


def test_missing_domains_are_all_named(tmp_path: Path) -> None:
    root = write_domains(tmp_path)
    for folder in ("imagenet-adversarial", "imagenetv2"):
        shutil.rmtree(root / "domain-generalization" / folder)
    with pytest.raises(RunError) as refused:
        load(root)
    assert refused.value.reason == "data_missing"
    assert "imagenet-a: there is no folder imagenet-adversarial or imagenet-a" in refused.value.message
    assert "imagenet-v2: there is no folder" in refused.value.message


@pytest.mark.parametrize(("label", "why"), [(0, "count its own 200 classes from 0"), (999, "WordNet ids")])
def test_labels_that_are_not_imagenets_are_refused(tmp_path: Path, label: int, why: str) -> None:
    root = write_domains(tmp_path)
    file = root / "domain-generalization/imagenet-rendition/annotations/val_meta.list"
    file.write_text(f"{file.read_text().splitlines()[0].rpartition(' ')[0]} {label}\n")
    with pytest.raises(RunError, match=f"imagenet-r: 1 labels that do not occur in it, such as {label}; .*{why}"):
        load(root)


def test_where_imagenet_is_can_be_said(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "lists")
    shutil.move(root / "few-shot/imagenet/images", tmp_path / "elsewhere")
    with pytest.raises(
        RunError, match=r"task\.imagenet_path: ImageNet's train and val folders are not beside its lists"
    ):
        load(root)
    assert len(load(root, imagenet_path=str(tmp_path / "elsewhere")).train) == 18


def test_a_class_list_that_is_broken_is_refused(tmp_path: Path) -> None:
    root = write_domains(tmp_path)
    file = root / "few-shot/imagenet/annotations/train_meta.list.num_shot_16.seed_0"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[0].replace(" 0", " 5")]))
    with pytest.raises(RunError, match="n00000000 has label 5, and 0 before"):
        load(root)
