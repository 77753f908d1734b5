"""An estimate of what a run needs, for backbones whose sizes the catalogue knows."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pace_core.spec.benchmarks import find_task
from pace_core.spec.catalogue import BackboneEntry, Catalogue
from pace_core.spec.run_spec import RunSpec
from pace_core.spec.targets import is_target

Device = Literal["cpu", "cuda"]

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}
_CPU_GFLOPS_PER_THREAD = 40.0  # a current core on the matrix sizes of a small ViT; machines differ by 2x either way
_MIB = 2**20
# What follows was measured on a CPU, in processes of their own and in a worker's warm ones; `test_memory.py` in
# `tests/pace_core/spec` and in `tests/e2e` does it again.
_PROCESS_BYTES = 960 * _MIB  # Python with torch, timm and what they load: 900 alone, 1,000 in a warm worker
_BUNDLED_BYTES = 140 * _MIB  # scikit-learn, Matplotlib's fonts and the drawing of the bundled tasks
_KEPT_BY_FULL = 1.08  # of the inputs and outputs of a block's linear layers, what a training step keeps
_KEPT_BY_ADAPTERS = 1.6
_EVALUATED_ROWS = 128
_ANSWERED_ROWS = 16
_LOGITS_KEPT = 3  # logits of a vocabulary, their exponentials and their gradient
_BYTES_A_TOKEN = 12
_AT_ONCE = 2.4  # what a block holds at once where nothing is kept, in inputs and outputs of its largest layer
_HELD_TO_MEASURE = 256 * _MIB  # more images than this are decoded as they are needed
_UNKNOWN_IMAGES = 1000  # of a split, as vtab-mini has, where nobody has counted
_VAL_SHARE = 0.25  # validation images for each training image, as in VTAB-1K


class Estimate(BaseModel):
    """Resources that a run takes; None where the backbone's sizes are unknown. Times are orders of magnitude."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    memory_bytes: int | None
    """Peak memory, of the process on a CPU and of the device on a GPU, within a quarter where the number of images is
    known."""
    train_gflops_per_image: float | None
    cpu_seconds_per_1000_images: float | None
    """One epoch of 1,000 images on this many CPU threads."""
    epochs: float
    """Of all stages, in epochs of training; a search counts by its forward passes over a quarter as many images."""


def estimate(
    spec: RunSpec, catalogue: Catalogue, images: Mapping[str, int] | None = None, device: Device | None = None
) -> Estimate:
    """Counts the linear layers: 3 products a pass (forward, and two backward), and the activations that are kept.

    `images`: how many there are to train on (`train`) and to measure on (`val` or `test`), where somebody has counted.
    `device`: where the run computes, if known; else what `resources.device` says, and for auto the larger of both.
    """
    counted = expected_images(spec) if images is None else images
    regularizer = catalogue.regularizers[spec.regularizer.name]
    epochs = round(_epochs(spec, catalogue, regularizer.passes), 1)
    backbone = catalogue.backbones.get(spec.backbone.name)
    if backbone is not None and spec.backbone.max_length:  # sizes of texts are those of the longest
        share = spec.backbone.max_length / backbone.max_length if backbone.max_length else 1
        backbone = backbone.model_copy(update={"gflops": backbone.gflops * share})
    if backbone is None or spec.backbone.image_size not in (None, backbone.image_size or None):
        return Estimate(memory_bytes=None, train_gflops_per_image=None, cpu_seconds_per_1000_images=None, epochs=epochs)
    products = 1 if spec.method.name == "linear" else 3
    gflops = backbone.gflops * products * regularizer.passes
    asked = device or spec.resources.device
    devices: tuple[Device, ...] = ("cpu", "cuda") if asked == "auto" else (asked,)
    return Estimate(
        memory_bytes=max(
            _memory_bytes(spec, backbone, regularizer.activation_factor, counted, device) for device in devices
        ),
        train_gflops_per_image=round(gflops, 3),
        cpu_seconds_per_1000_images=round(1000 * gflops / (_CPU_GFLOPS_PER_THREAD * spec.resources.threads), 1),
        epochs=epochs,
    )


def expected_images(spec: RunSpec) -> dict[str, int]:
    """Returns how many images there are to train on and to measure on: as the spec says, else as its benchmark has,
    else 1,000 of each. A split that nobody has counted is taken to be as large as what the other phase measures on.
    """
    measured, other = ("val", "test") if spec.task.phase == "search" else ("test", "val")
    found = find_task(spec.task.name)
    known = {str(split): count for split, count in (spec.resources.images or {}).items()}
    if not known and found:
        known = found[0].images_of(found[1], spec.task.phase)
    unknown = known.get(other, _UNKNOWN_IMAGES)
    return {"train": known.get("train", _UNKNOWN_IMAGES), measured: known.get(measured, unknown)}


def _memory_bytes(
    spec: RunSpec, backbone: BackboneEntry, activation_factor: float, images: Mapping[str, int], device: Device
) -> int:
    """On a CPU the process, its images, the network, and the larger of a training step and an evaluation; on a GPU the
    same without the process, whose memory is the host's."""
    cpu = device == "cpu"
    precision = spec.training.precision
    if precision == "auto":
        precision = "float32" if cpu else "bfloat16"
    full, linear = spec.method.name == "full", spec.method.name == "linear"
    number = _BYTES[
        precision
    ]  # of an activation; under bfloat16 the weights stay in float32, with a copy of the frozen
    halved = spec.backbone.frozen_dtype == "bfloat16" and not full
    network = (2 if halved else max(number, 4)) * backbone.parameters
    rows = min(spec.training.micro_batch or spec.training.batch_size, spec.training.batch_size)
    forward = number * _AT_ONCE * max(_numbers_a_row(backbone))
    if linear:
        step = forward * rows
    else:
        step = (
            number
            * sum(_numbers_a_row(backbone))
            * rows
            * activation_factor
            * (_KEPT_BY_FULL if full else _KEPT_BY_ADAPTERS)
        )
    measured = sum(count for split, count in images.items() if split != "train")
    at_once = _ANSWERED_ROWS if backbone.vocabulary else _EVALUATED_ROWS
    merged = 0 if full or linear else _merged_bytes(spec, backbone, network)
    evaluation = forward * min(at_once, measured) + merged
    copies = network * (2 if cpu else 1)  # a warm worker keeps the pretrained one
    if precision == "bfloat16" and not halved:
        copies += number * backbone.parameters
    if full:
        copies += 3 * network  # gradient and AdamW's two moments
    if backbone.family == "text":
        step += _LOGITS_KEPT * number * rows * activation_factor * _length(spec, backbone) * backbone.vocabulary
    if spec.training.recompute:
        step /= max(1, backbone.depth / 2)
    held = _image_bytes(spec, backbone, images) if cpu else _image_bytes(spec, backbone, {"train": images["train"]})
    drawn = _BUNDLED_BYTES if cpu and spec.task.source == "vtab_mini" else 0
    return int((_PROCESS_BYTES if cpu else 0) + drawn + held + copies + max(step, evaluation))


def _image_bytes(spec: RunSpec, backbone: BackboneEntry, images: Mapping[str, int]) -> float:
    if backbone.family == "text":
        return sum(images.values()) * _BYTES_A_TOKEN * _length(spec, backbone)
    crops = spec.training.augmentation == "crop_flip"
    image = 3 * backbone.image_size**2 * ((8 / 7) ** 2 * 4 / 3 if crops else 1)  # most photographs are 4 to 3
    held = {split: count * image for split, count in images.items()}
    return sum(size if split == "train" else min(size, _HELD_TO_MEASURE) for split, size in held.items())


def _numbers_a_row(backbone: BackboneEntry) -> list[float]:
    """Inputs and outputs of each linear layer of the blocks, for one image."""
    if backbone.family == "swin":  # layers.<stage>.…; patches of 4 pixels, and half as many a side in each next stage
        side = backbone.image_size / 4
        stages = {layer: int(layer.split(".")[1]) for layer in backbone.layers}
        return [(side / 2 ** stages[layer]) ** 2 * (i + o) for layer, (i, o) in backbone.layers.items()]
    tokens = backbone.gflops * 1e9 / (2 * sum(i * o for i, o in backbone.layers.values()))
    return [tokens * (i + o) for i, o in backbone.layers.values()]


def _merged_bytes(spec: RunSpec, backbone: BackboneEntry, network: int) -> int:
    """Merged weights beside the others: of a network for texts those of the adapted layers, in float32."""
    if backbone.family != "text":
        return network
    targets = spec.method.params.get("targets", "all")
    return sum(4 * inputs * outputs for name, (inputs, outputs) in backbone.layers.items() if is_target(name, targets))


def _length(spec: RunSpec, backbone: BackboneEntry) -> int:
    """Tokens of the longest text that the run lets through; most texts are shorter."""
    return spec.backbone.max_length or backbone.max_length


def _epochs(spec: RunSpec, catalogue: Catalogue, passes: float) -> float:
    epochs, params = spec.training.epochs, spec.method.params
    stages = catalogue.methods[spec.method.name].stages
    if "search" not in stages or params.get("architecture") or epochs == 0:
        return epochs
    evaluations = params["population"] * (1 + params["generations"])
    return epochs + params.get("supernet_epochs", 0) + _VAL_SHARE * evaluations / (3 * passes)
