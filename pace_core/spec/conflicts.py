"""Rules between the fields of a spec. Each is a function of the checked sections that yields the faults it finds."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pace_core.spec.catalogue import Catalogue, Gives
from pace_core.spec.errors import Fault
from pace_core.spec.run_spec import WEIGHT_FILES, Backbone, Training
from pace_core.spec.suggest import did_you_mean
from pace_core.spec.targets import is_target
from pace_core.spec.text import brief
from pace_core.spec.training_faults import training_faults

_TIMM_FAMILIES = re.compile(r"^(vit|deit3?|swin|swinv2)_")
_ROTATES = "turns its queries and keys by their position inside its attention"
_UNFIT = {
    re.compile(r"^vit_.*(dinov3|rope)"): _ROTATES,
    re.compile(r"^eva"): _ROTATES,
    re.compile(r"^beit"): "keeps its attention's biases of queries, values and positions outside of its linear layers",
    re.compile(r"^(convnext|resnet|resnext|efficientnet|regnet|mobilenet|densenet)"): "has no blocks of attention",
}
"""Networks of timm by their names → why the methods, which adapt blocks of plain ViTs and Swins, do not fit them."""
_TEXT_NETWORKS = (
    "name a network of transformers on the hub, such as FacebookAI/roberta-base, or give its folder in backbone.weights"
)
_OF_IMAGES = {
    "backbone": ("image_size", "normalization"),
    "training": ("drop_path", "augmentation", "rand_augment", "mixup", "cutmix", "label_smoothing"),
}
"""Fields that mean nothing for texts."""
_WEIGHT_WORDS = ("auto", "bundled", "hub", "none")

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Sections:
    """The sections of a spec with defaults filled in; None for a section that was refused already."""

    gives: Gives | None
    """What the task's samples are."""
    method: Section | None
    regularizer: Section | None
    backbone: Section | None
    optimizer: Section | None
    training: Section | None


def find_conflicts(sections: Sections, catalogue: Catalogue) -> list[Fault]:
    """Lists the faults of all rules; a rule about a section that was refused already finds nothing."""
    return [fault for rule in _RULES for fault in rule(sections, catalogue)]


def _conflict(pointer: str, message: str) -> Fault:
    return Fault(pointer=pointer, code="conflict", message=message)


def _regularizer_needs(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """The method gives what the regularizer needs."""
    if not (sections.method and sections.regularizer):
        return
    method, regularizer = sections.method["name"], catalogue.regularizers[sections.regularizer["name"]]
    for need in regularizer.needs:
        if need not in catalogue.methods[method].gives:
            able = ", ".join(n for n, m in catalogue.methods.items() if need in m.gives and ":" not in n)
            why = f" ({regularizer.reasons[need]})" if need in regularizer.reasons else ""
            lacks = f"method {method} does not provide {need!r}"
            yield _conflict(
                "/regularizer/name", f"{regularizer.name} cannot work here: {lacks}{why}; methods that do: {able}"
            )


def _backbone_is_known(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """The backbone reads what the task gives: of images, it is the one that ships or may be one of timm's."""
    if not sections.backbone:
        return
    name = sections.backbone["name"]
    known = catalogue.backbones.get(name)
    if sections.gives in ("sentences", "problems"):
        if (known and known.family != "text") or _TIMM_FAMILIES.match(name):
            message = f"{brief(name)} reads images, and the task is of texts; {_TEXT_NETWORKS}"
            yield Fault(pointer="/backbone/name", code="conflict", message=message)
        return
    if known and known.family == "text" and sections.gives:
        message = f"{brief(name)} reads texts, and the task is of images; choose a ViT or Swin, such as pace_vit_mini"
        yield Fault(pointer="/backbone/name", code="conflict", message=message)
        return
    if why := next((why for names, why in _UNFIT.items() if names.match(name)), ""):
        others = "a ViT, DeiT, DINOv2 or CLIP image tower (vit_…) or a Swin"
        yield Fault(pointer="/backbone/name", code="unknown_name", message=f"{brief(name)} {why}; choose {others}")
    elif name not in catalogue.backbones and not _TIMM_FAMILIES.match(name):
        hint = did_you_mean(name, catalogue.backbones)
        message = f"{brief(name)} is neither the bundled network nor a timm ViT or Swin{hint}"
        yield Fault(pointer="/backbone/name", code="unknown_name", message=message)


def _weights_exist(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """The backbone has weights of the kind that is asked for."""
    if not sections.backbone:
        return
    name, weights = sections.backbone["name"], sections.backbone["weights"]
    if sections.gives in ("sentences", "problems"):
        if weights not in ("auto", "hub") and not set("/\\~.") & set(weights):
            message = f"{brief(weights)} is no place of a network for texts; use hub, or the path of its folder"
            yield _conflict("/backbone/weights", message)
        return
    bundled = name in catalogue.backbones and catalogue.backbones[name].bundled
    if weights == "bundled" and not bundled:
        yield _conflict("/backbone/weights", f"no weights for {name} are bundled; use hub, none or the path of a file")
    elif weights in ("auto", "hub") and (original := _original(name)) in catalogue.backbones:
        message = f"timm has no weights under the old name {name}; those of ImageNet-21k are {original} (PACE's rows)"
        yield Fault(pointer="/backbone/name", code="unknown_name", message=f"{message} or its augreg_in21k")
    elif weights == "hub" and bundled:
        yield _conflict("/backbone/weights", f"{name} is not on a hub; its weights are bundled, so use bundled")
    elif weights not in _WEIGHT_WORDS and not weights.endswith(WEIGHT_FILES):
        words, endings = ", ".join(_WEIGHT_WORDS), ", ".join(WEIGHT_FILES)
        message = f"must be {words} or the path of a {endings} file, not {brief(weights)}"
        yield Fault(pointer="/backbone/weights", code="out_of_range", message=message)


def _original(name: str) -> str:
    """Returns the weights that a name of timm's before 0.8 meant, such as vit_base_patch16_224_in21k."""
    return name.removesuffix("_in21k") + ".orig_in21k" if name.endswith("_in21k") and "." not in name else ""


def _method_fits(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """The method adapts networks of the backbone's family, and is not wider than its layers."""
    backbone = catalogue.backbones.get(sections.backbone["name"]) if sections.backbone else None
    if not sections.method:
        return
    method = catalogue.methods[sections.method["name"]]
    if not backbone:
        if sections.gives in ("sentences", "problems") and "text" not in method.fits:
            able = ", ".join(name for name, m in catalogue.methods.items() if "text" in m.fits and ":" not in name)
            yield _conflict("/method/name", f"{method.name} cannot adapt networks for texts; methods that do: {able}")
        return
    if backbone.family not in method.fits:
        fits = ", ".join(method.fits)
        message = f"{method.name} cannot adapt {backbone.name} ({backbone.family}); it fits {fits}"
        yield _conflict("/method/name", message)
    if too_wide := rank_above_width(sections.method, method.params["properties"], backbone.layers):
        yield _conflict("/method/rank", too_wide)


def rank_above_width(given: Section, properties: Section, layers: Mapping[str, tuple[int, int]]) -> str:
    """Returns what is wrong with a method's rank, or nothing.

    properties: JSON Schemas of the method's parameters by name. layers: (inputs, outputs) of a network's linear layers.
    """
    rank = given.get("rank")
    if not isinstance(rank, int) or properties["rank"].get("above_width"):
        return ""
    targets = given.get("targets", "all")
    widths = {name: min(sides) for name, sides in layers.items() if is_target(name, targets)}
    narrowest = min(widths, key=lambda name: widths[name], default="")
    if not narrowest or rank <= widths[narrowest]:
        return ""
    limit = widths[narrowest]
    return f"{rank} is wider than {narrowest} ({limit}); use at most {limit}"


def _fields_fit(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """No field is given that means nothing for the task's samples."""
    if sections.backbone and sections.gives == "images" and sections.backbone["max_length"] is not None:
        yield _conflict("/backbone/max_length", "an image has no length in tokens; leave it out")
    halved = bool(sections.backbone) and sections.backbone["frozen_dtype"] == "bfloat16"
    if halved and sections.gives == "images":
        yield _conflict("/backbone/frozen_dtype", "bfloat16 is for networks for texts; leave it out")
    if halved and sections.training and sections.training["precision"] in ("float32", "float64"):
        message = f"bfloat16 needs training.precision bfloat16, not {sections.training['precision']}"
        yield _conflict("/backbone/frozen_dtype", f"{message}; set both, or neither")
    if sections.gives in (None, "images"):
        return
    for name, section, model in (
        ("backbone", sections.backbone, Backbone),
        ("training", sections.training, Training),
    ):
        for field in _OF_IMAGES[name] if section else ():
            assert section is not None
            if section[field] not in (model.model_fields[field].default, 0):
                yield _conflict(f"/{name}/{field}", "is for images, and the task is of texts; leave it out")


def _fits_a_language_model(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """Nothing is asked of a language model that needs a new classifier."""
    if sections.gives != "problems":
        return
    if sections.method and sections.method["name"] == "linear":
        yield _conflict("/method/name", "linear trains a new classifier, and a language model has none; use another")
    if sections.regularizer and sections.regularizer["name"] == "pace_fast":
        yield _conflict(
            "/regularizer/name", "pace_fast keeps one row of logits a sample, and an answer has many; use pace"
        )
    if sections.training and sections.training["diagnostics"]:
        yield _conflict("/training/diagnostics", "is of classes and scores, and the task is of answers; leave it out")


def _training_fits(sections: Sections, catalogue: Catalogue) -> Iterator[Fault]:
    """Training, optimizer, method and regularizer fit each other."""
    if sections.training:
        yield from training_faults(
            sections.training, sections.optimizer, sections.method, sections.regularizer, catalogue
        )


_RULES = (
    _regularizer_needs,
    _backbone_is_known,
    _weights_exist,
    _method_fits,
    _fields_fit,
    _fits_a_language_model,
    _training_fits,
)
