"""The tuners of HF `peft`, each as a method `peft:<NAME>` with its own configuration.

Not a file a method: there are as many as the installed `peft` has. It takes seconds to load, so this module is loaded
only where one of them is asked for.
"""

import dataclasses
import re
from functools import cache, partial
from typing import Any, get_type_hints

import torch
from peft import PeftConfig, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from pydantic import Field, TypeAdapter, create_model
from torch import nn

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.network.parts import block_linears, head_prefix
from pace_core.network.peft_layers import follow_layers
from pace_core.spec import ParamsModel, RunError

# what needs calls of its own in the training loop, another package, tokens, or several tasks
_NOT_HERE = {"ADALORA", "ADAMSS", "ADAPTION_PROMPT", "POLY", "SHADOW", "TRAINABLE_TOKENS"}
_MOVED_AT_START = {"C3A", "FOURIERFT", "UNILORA", "VBLORA"}
_NOT_A_PARAMETER = {field.name for field in dataclasses.fields(PeftConfig)} | {"modules_to_save"}
_TARGETS = "Names of the adapted modules, or a regular expression of whole names; every linear of the blocks if null."


@cache
def tuners() -> dict[str, Method[Any]]:
    """Returns one method per tuner, by name."""
    return {
        f"peft:{type.value}": _tuner(type.value, config)
        for type, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if _fits(type, config)
    }


def _fits(type: PeftType, config: type[PeftConfig]) -> bool:
    """Prompts for language models have no modules that they adapt."""
    return type.value not in _NOT_HERE and any(field.name == "target_modules" for field in dataclasses.fields(config))


def _tuner(short: str, config: type[PeftConfig]) -> Method[Any]:
    name = f"peft:{short}"
    return Method(
        name=name,
        title=f"peft's {short}",
        doc=f"{short} as HF `peft` has it, with that library's configuration.",
        params=_params(config),
        adapt=partial(_adapt, name, config),
        fits=frozenset({"vit", "swin", "text"}),
        gives=frozenset({"delta"}),
        starts_pretrained=short not in _MOVED_AT_START,
    )


def _params(config: type[PeftConfig]) -> type[ParamsModel]:
    """The fields of a configuration that a spec can hold, and that are not the method's own business."""
    hints, fields = get_type_hints(config), {}
    for field in dataclasses.fields(config):
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        nested = "$defs" in TypeAdapter(hints[field.name]).json_schema() or dataclasses.is_dataclass(default)
        if field.name not in _NOT_A_PARAMETER and not nested:
            said = "".join(field.metadata.get("help", ()))  # text, or by an oversight a tuple of it
            if field.name == "target_modules":
                said = _TARGETS
            fields[field.name] = (hints[field.name], Field(default, description=said or None))
    return create_model("Params", __base__=ParamsModel, **fields)


def _adapt(name: str, config: type[PeftConfig], model: nn.Module, params: ParamsModel, rng: torch.Generator) -> None:
    """Freezes the backbone and has `peft` put its layers in the place of the targeted ones.

    Raises RunError `spec_invalid` with what `peft` says of a configuration that it cannot use.
    """
    freeze(model, rng)
    asked = params.model_dump()
    asked["target_modules"] = asked["target_modules"] or _every_target(model, of_norms=name == "peft:LN_TUNING")
    if asked.get("feedforward_modules", "") is None:
        asked["feedforward_modules"] = []  # IA3: the outputs of all that it adapts are scaled
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # some of what it draws stays frozen and is not saved: the same in every run
            get_peft_model(model, config(**asked))  # in place; what it returns adds nothing to that
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise RunError("spec_invalid", f"method: {name} cannot adapt this network so: {error}") from error
    model.get_submodule(head_prefix(model).removesuffix(".")).requires_grad_(True)
    follow_layers(model)


def _every_target(model: nn.Module, of_norms: bool) -> str:
    """A regular expression of whole names: of the linears of the blocks, or of all norms."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
    return "|".join(map(re.escape, names if of_norms else block_linears(model)))
