"""An estimate of what a run needs, for backbones whose sizes the catalogue knows."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from pace_core.spec.catalogue import BackboneEntry, Catalogue
from pace_core.spec.run_spec import RunSpec

_CPU_GFLOPS_PER_THREAD = 40.0  # a current core on the matrix sizes of a small ViT; machines differ by 2x either way
_MIB = 2**20
# What follows was measured in fresh processes on a CPU (`tests/pace_core/spec/test_memory.py` does it again).
_PROCESS_BYTES = 900 * _MIB  # Python with torch, timm and what they load with the first network
_BUNDLED_BYTES = 140 * _MIB  # scikit-learn, Matplotlib's fonts and the drawing of the bundled tasks
_KEPT_BY_FULL = 1.08  # of the inputs and outputs of a block's linear layers, what a training step keeps
_KEPT_BY_ADAPTERS = 1.6
_EVALUATED_ROWS = 128
_AT_ONCE = 2.4  # what a block holds at once where nothing is kept, in inputs and outputs of its largest layer
_HELD_TO_MEASURE = 256 * _MIB  # more images than this are decoded as they are needed
_UNKNOWN_IMAGES = {"train": 1000, "test": 1000}  # as VTAB-1K and vtab-mini have at least, where nobody has counted
_VAL_SHARE = 0.25  # validation images for each training image, as in VTAB-1K


class Estimate(BaseModel):
    """Resources that a run takes; None where the backbone's sizes are unknown. Times are orders of magnitude."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    memory_bytes: int | None
    """Peak memory of the process, within a quarter where the number of images is known."""
    train_gflops_per_image: float | None
    cpu_seconds_per_1000_images: float | None
    """One epoch of 1,000 images on this many CPU threads."""
    epochs: float
    """Of all stages, in epochs of training; a search counts by its forward passes over a quarter as many images."""


def estimate(spec: RunSpec, catalogue: Catalogue, images: Mapping[str, int] = _UNKNOWN_IMAGES) -> Estimate:
    """Counts the linear layers: 3 products a pass (forward, and two backward), all activations kept in float32.

    `images`: how many there are to train on (`train`) and to measure on (`val` or `test`), where that is known.
    """
    passes = catalogue.regularizers[spec.regularizer.name].passes
    epochs = round(_epochs(spec, catalogue, passes), 1)
    backbone = catalogue.backbones.get(spec.backbone.name)
    if backbone is None or spec.backbone.image_size not in (None, backbone.image_size):
        return Estimate(memory_bytes=None, train_gflops_per_image=None, cpu_seconds_per_1000_images=None, epochs=epochs)
    products = 1 if spec.method.name == "linear" else 3
    gflops = backbone.gflops * products * passes
    return Estimate(
        memory_bytes=_memory_bytes(spec, backbone, catalogue.regularizers[spec.regularizer.name].kept, images),
        train_gflops_per_image=round(gflops, 3),
        cpu_seconds_per_1000_images=round(1000 * gflops / (_CPU_GFLOPS_PER_THREAD * spec.resources.threads), 1),
        epochs=epochs,
    )


def _memory_bytes(spec: RunSpec, backbone: BackboneEntry, kept: float, images: Mapping[str, int]) -> int:
    """The process, the images it holds, the network, and the larger of a training step and an evaluation."""
    number = 8 if spec.training.precision == "float64" else 4
    network = number * backbone.parameters
    full, linear = spec.method.name == "full", spec.method.name == "linear"
    rows = min(spec.training.micro_batch or spec.training.batch_size, spec.training.batch_size)
    forward = number * _AT_ONCE * max(_numbers_a_row(backbone))
    if linear:
        step = forward * rows
    else:
        step = number * sum(_numbers_a_row(backbone)) * rows * kept * (_KEPT_BY_FULL if full else _KEPT_BY_ADAPTERS)
    measured = sum(count for split, count in images.items() if split != "train")
    evaluation = forward * min(_EVALUATED_ROWS, measured) + (
        0 if full or linear else network
    )  # merged weights beside the others
    copies = 2 * network + (3 * network if full else 0)  # a warm worker keeps one; gradient and AdamW's two moments
    return int(_PROCESS_BYTES + _image_bytes(spec, backbone, images) + copies + max(step, evaluation))


def _image_bytes(spec: RunSpec, backbone: BackboneEntry, images: Mapping[str, int]) -> float:
    crops = spec.training.augmentation == "crop_flip"
    image = 3 * backbone.image_size**2 * ((8 / 7) ** 2 * 4 / 3 if crops else 1)  # most photographs are 4 to 3
    held = {split: count * image for split, count in images.items()}
    drawn = _BUNDLED_BYTES if spec.task.source == "vtab_mini" else 0
    return drawn + sum(size if split == "train" else min(size, _HELD_TO_MEASURE) for split, size in held.items())


def _numbers_a_row(backbone: BackboneEntry) -> list[float]:
    """Inputs and outputs of each linear layer of the blocks, for one image."""
    if backbone.family == "swin":  # layers.<stage>.…; patches of 4 pixels, and half as many a side in each next stage
        side = backbone.image_size / 4
        stages = {layer: int(layer.split(".")[1]) for layer in backbone.layers}
        return [(side / 2 ** stages[layer]) ** 2 * (i + o) for layer, (i, o) in backbone.layers.items()]
    tokens = backbone.gflops * 1e9 / (2 * sum(i * o for i, o in backbone.layers.values()))
    return [tokens * (i + o) for i, o in backbone.layers.values()]


def _epochs(spec: RunSpec, catalogue: Catalogue, passes: float) -> float:
    epochs, params = spec.training.epochs, spec.method.params
    stages = catalogue.methods[spec.method.name].stages
    if "search" not in stages or params.get("architecture") or epochs == 0:
        return epochs
    evaluations = params["population"] * (1 + params["generations"])
    return epochs + params.get("supernet_epochs", 0) + _VAL_SHARE * evaluations / (3 * passes)
