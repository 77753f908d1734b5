"""timm's networks by name, without their classifier and without pretrained weights."""

from typing import Any, Literal

import timm
from timm.models import is_model_in_modules
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pace_core.backbones import mini
from pace_core.spec import RunError
from pace_core.spec.suggest import did_you_mean

Family = Literal["vit", "swin"]
Triple = tuple[float, float, float]

FAMILIES: dict[Family, tuple[str, ...]] = {
    "vit": ("vision_transformer", "deit"),
    "swin": ("swin_transformer", "swin_transformer_v2"),
}  # timm's modules


def timm_family(name: str) -> Family:
    """Raises RunError `spec_invalid` for a name that is no ViT or Swin of timm."""
    if name == mini.NAME:
        return "vit"
    if not timm.is_model(name):
        known = [
            mini.NAME,
            *(model for modules in FAMILIES.values() for m in modules for model in timm.list_models(module=m)),
        ]
        message = f"backbone.name: timm {timm.__version__} has no model {name!r}{did_you_mean(name, known)}"
        raise RunError("spec_invalid", message)
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, the tag after the dot is not
        hint = did_you_mean(name, timm.list_pretrained(f"{name.partition('.')[0]}.*"))
        raise RunError("spec_invalid", f"backbone.name: timm {timm.__version__} has no {name!r}{hint}") from error
    for family, modules in FAMILIES.items():
        if is_model_in_modules(name, set(modules)):
            return family
    raise RunError("spec_invalid", f"backbone.name: {name} is neither a ViT nor a Swin of timm; choose one of those")


def build(name: str, image_size: int | None, drop_path: float) -> Any:
    """Builds a timm network with random weights and no classifier. Raises RunError `spec_invalid` where timm cannot."""
    timm_family(name)
    sizes = size_argument(image_size)
    try:
        if name == mini.NAME:
            architecture = {**mini.ARCHITECTURE, **sizes}
            model: Any = VisionTransformer(**architecture, num_classes=0, drop_path_rate=drop_path)
        else:
            model = timm.create_model(name, num_classes=0, drop_path_rate=drop_path, **sizes)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:  # such as a size that it has no windows for
        where = "" if image_size is None else f" with image_size {image_size}"
        raise RunError("spec_invalid", f"backbone: timm cannot build {name}{where}: {error}") from error
    _check(name, model)
    return model


def size_argument(image_size: int | None) -> dict[str, Any]:
    """Returns timm's argument for an input of another size than the network's own."""
    return {} if image_size is None else {"img_size": image_size}


def input_of(name: str, model: Any) -> tuple[int, Triple, Triple]:
    """Returns the side of the square input, and the mean and std that the network's weights were trained with."""
    side = int(model.patch_embed.img_size[0])
    if name == mini.NAME:
        return side, mini.MEAN, mini.STD
    return side, tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])


def _check(name: str, model: nn.Module) -> None:
    if hasattr(model, "head_dist"):
        raise RunError("spec_invalid", f"backbone.name: {name} has two classifiers; use the one without `distilled`")
    embed: Any = model.patch_embed
    if embed.img_size is None or embed.img_size[0] != embed.img_size[1]:
        raise RunError(
            "spec_invalid", f"backbone.name: {name} has no square input of fixed size; set backbone.image_size"
        )
    side, patch = embed.img_size[0], embed.patch_size[0]
    if side % patch:
        message = f"backbone.image_size: {side} is not a multiple of the patch size {patch} of {name}"
        raise RunError("spec_invalid", f"{message}; use {max(1, round(side / patch)) * patch}")
