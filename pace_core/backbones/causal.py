"""A pretrained causal language model of `transformers`, from a hub, a folder or a GGUF file."""

import copy
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from pace_core.backbones._transformers import first_line, quietly, seeded, state_of
from pace_core.backbones._weights import hash_of
from pace_core.chat import Chat
from pace_core.network.parts import LANGUAGE_HEAD, blocks_of
from pace_core.network.roles import put_before
from pace_core.roots import weights_path
from pace_core.spec import Backbone, RunError
from pace_core.spec.targets import FUSED
from pace_core.spec.text import shown

LONGEST = 512
_CURE = "give a model's name on the hub in backbone.name, or its folder or GGUF file in backbone.weights"
_SCALES = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Fields of configurations whose models change the logits behind `lm_head`, which we compute ourselves."""


@dataclass(frozen=True)
class LoadedCausal:
    """A language model, on the CPU, in float32."""

    model: nn.Module
    preprocessing: Chat
    weights_hash: str
    """SHA-256 of all pretrained tensors and of the tokenizer."""


class LanguageModel(nn.Module):
    """Role of a causal language model (see `put_before`): tokens in, logits of the answers' tokens out."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits [answer tokens, vocabulary] of tokens [b, 3, length], as a Chat makes them.

        They are in the order of the samples and of their tokens; under several draws of noise, one draw after another.
        No other logits are computed: those of a whole batch over a vocabulary are most of what a step holds.
        """
        ids, mask, answer = tokens.long().unbind(1)
        network: Any = self
        hidden = network.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        follows = answer[:, 1:].bool().repeat(len(hidden) // len(ids), 1)
        return network.lm_head(hidden[:, :-1][follows])

    def reset_classifier(self, num_classes: int) -> None:
        """Does nothing: a language model's head is pretrained."""


def load(backbone: Backbone) -> LoadedCausal:
    """Loads the language model that a spec names. It is a copy: changes to it touch no other run.

    Raises RunError `weights_missing` or `spec_invalid`.
    """
    origin, file = _origin(backbone)
    try:
        pretrained, tokenizer, weights_hash = _pretrained(origin, file, state_of(origin))
    except RunError:
        raise
    except Exception as error:  # no network, no such repository, a broken file: each has its own
        message = f"{shown(origin, 300)} could not be loaded: {first_line(error)}"
        raise RunError("weights_missing", f"backbone.weights: {message}; {_CURE}") from error
    model: Any = copy.deepcopy(pretrained)
    chat = _chat(model, tokenizer, _max_length(backbone, model.config))
    put_before(model, LanguageModel)
    return LoadedCausal(model, chat, weights_hash)


def _origin(backbone: Backbone) -> tuple[str, str | None]:
    """A folder, or a name on the hub, and a GGUF file in it."""
    if backbone.weights in ("auto", "hub"):
        return backbone.name, None
    place = weights_path(Path(backbone.weights).expanduser())
    if place.is_file() and place.suffix == ".gguf":
        return str(place.parent), place.name
    if not place.is_dir():
        raise RunError("weights_missing", f"backbone.weights: there is no folder or GGUF file {place}; {_CURE}")
    return str(place), None


@lru_cache(maxsize=1)  # a warm worker reads weights once, then copies
def _pretrained(origin: str, file: str | None, _state: object) -> tuple[Any, Any, str]:
    with quietly(), seeded():
        tokenizer: Any = AutoTokenizer.from_pretrained(origin, gguf_file=file)
        model: Any = AutoModelForCausalLM.from_pretrained(
            origin, gguf_file=file, use_safetensors=file is None, dtype=torch.float32
        )
    name = type(model).__name__
    if not blocks_of(model) or not isinstance(getattr(model, LANGUAGE_HEAD, None), nn.Linear):
        raise RunError(
            "spec_invalid", f"backbone.name: {name} has no blocks of a known kind; use a model built as Llama"
        )
    if scaled := [field for field in _SCALES if getattr(model.config, field, None) not in (None, 1, 1.0)]:
        raise RunError(
            "spec_invalid", f"backbone.name: {name} changes its logits by {scaled[0]}, which is not supported"
        )
    for layer, module in model.named_modules():
        if layer.endswith(FUSED) and isinstance(module, nn.Linear):
            width = module.out_features // (model.config.num_attention_heads + 2 * model.config.num_key_value_heads)
            module.value_rows = width * model.config.num_key_value_heads  # pyright: ignore[reportAttributeAccessIssue]
    digest = hashlib.sha256(hash_of(model.state_dict()).encode() + tokenizer.backend_tokenizer.to_str().encode())
    return model, tokenizer, digest.hexdigest()


def _chat(model: Any, tokenizer: Any, max_length: int) -> Chat:
    config = getattr(model, "generation_config", None)
    ends: Any = getattr(config, "eos_token_id", None)
    stops = {tokenizer.eos_token_id, *(ends if isinstance(ends, list | tuple) else [ends])} - {None}
    made = Chat(
        tokenizer=tokenizer.backend_tokenizer.to_str(),
        template=tokenizer.chat_template,
        begin=tokenizer.bos_token,
        end=tokenizer.eos_token,
        max_length=max_length,
        pad_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        stops=tuple(sorted(stops)),
    )
    if made.template is None:
        return made
    # what the template puts behind an answer ends it, be it the tokenizer's own end or not, as in Phi-3
    whole, start = made.dialogue("1", "1")
    special = {token for token in whole[start:] if token in tokenizer.all_special_ids}
    return Chat(**{**vars(made), "stops": tuple(sorted(stops | special))})


def _max_length(backbone: Backbone, config: Any) -> int:
    limit = getattr(config, "max_position_embeddings", LONGEST)
    if backbone.max_length is None:
        return min(LONGEST, limit)
    if backbone.max_length > limit:
        message = f"{backbone.max_length} is more than the {limit} tokens that {backbone.name} reads; use at most that"
        raise RunError("spec_invalid", f"backbone.max_length: {message}")
    return backbone.max_length
