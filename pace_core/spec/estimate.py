"""A rough estimate of what a run needs, for backbones whose sizes the catalogue knows."""

from pydantic import BaseModel, ConfigDict

from pace_core.spec.catalogue import Catalogue
from pace_core.spec.run_spec import RunSpec

_CPU_GFLOPS_PER_THREAD = 40.0  # a current core on the matrix sizes of a small ViT; machines differ by 2x either way
_PROCESS_BYTES = 800_000_000  # Python with torch and timm loaded

_VAL_SHARE = 0.25  # validation images for each training image, as in VTAB-1K


class Estimate(BaseModel):
    """Orders of magnitude, not promises; None where the backbone's sizes are unknown."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    memory_bytes: int | None
    """Peak memory on the device."""
    train_gflops_per_image: float | None
    cpu_seconds_per_1000_images: float | None
    """One epoch of 1,000 images on this many CPU threads."""
    epochs: float
    """Of all stages, in epochs of training; a search counts by its forward passes over a quarter as many images."""


def estimate(spec: RunSpec, catalogue: Catalogue) -> Estimate:
    """Counts the linear layers: 3 products a pass (forward, and two backward), all activations kept in float32."""
    passes = catalogue.regularizers[spec.regularizer.name].passes
    epochs = round(_epochs(spec, catalogue, passes), 1)
    backbone = catalogue.backbones.get(spec.backbone.name)
    if backbone is None or spec.backbone.image_size not in (None, backbone.image_size):
        return Estimate(memory_bytes=None, train_gflops_per_image=None, cpu_seconds_per_1000_images=None, epochs=epochs)
    products = 1 if spec.method.name == "linear" else 3
    gflops = backbone.gflops * products * passes
    tokens = backbone.gflops * 1e9 / (2 * sum(i * o for i, o in backbone.layers.values()))
    kept = 0 if spec.method.name == "linear" else sum(i + o for i, o in backbone.layers.values())
    rows = min(spec.training.micro_batch or spec.training.batch_size, spec.training.batch_size)
    activations = tokens * (kept + 4 * backbone.width) * 4 * rows * passes
    trained = 4 if spec.method.name == "full" else 1
    return Estimate(
        memory_bytes=int(_PROCESS_BYTES + 4 * backbone.parameters * trained + activations),
        train_gflops_per_image=round(gflops, 3),
        cpu_seconds_per_1000_images=round(1000 * gflops / (_CPU_GFLOPS_PER_THREAD * spec.resources.threads), 1),
        epochs=epochs,
    )


def _epochs(spec: RunSpec, catalogue: Catalogue, passes: float) -> float:
    epochs, params = spec.training.epochs, spec.method.params
    stages = catalogue.methods[spec.method.name].stages
    if "search" not in stages or params.get("architecture") or epochs == 0:
        return epochs
    evaluations = params["population"] * (1 + params["generations"])
    return epochs + params.get("supernet_epochs", 0) + _VAL_SHARE * evaluations / (3 * passes)
