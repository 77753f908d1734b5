"""A pretrained encoder of `transformers` as a classifier of sentences, from a hub or a folder."""

import copy
import hashlib
import inspect
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pace_core.backbones._transformers import first_line, quietly, seeded, state_of
from pace_core.backbones._weights import hash_of
from pace_core.network.parts import HEADS, head_name, head_prefix
from pace_core.network.roles import put_before
from pace_core.roots import weights_path
from pace_core.spec import Backbone, RunError
from pace_core.spec.text import shown
from pace_core.tokenization import Tokenization

LONGEST = 512
"""Tokens of an input, where neither the spec nor the network asks for fewer."""
_CURE = "give a model's name on the hub in backbone.name, or its folder in backbone.weights"


@dataclass(frozen=True)
class LoadedText:
    """A network that reads tokens, on the CPU, in float32."""

    model: nn.Module
    preprocessing: Tokenization
    weights_hash: str
    """SHA-256 of all pretrained tensors and of the tokenizer."""


class Classifier(nn.Module):
    """Role of a sequence classifier (see `put_before`): tokens in one tensor in, logits out."""

    takes_types: bool

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits [b, classes] of tokens [b, 3, length], as a Tokenization makes them."""
        ids, mask, types = tokens.long().unbind(1)
        given = {"token_type_ids": types} if self.takes_types else {}
        return super().forward(input_ids=ids, attention_mask=mask, **given).logits

    def reset_classifier(self, num_classes: int) -> None:
        """Puts a new layer of logits in the place of the classifier's last."""
        name = head_name(self)
        old = self.get_submodule(name)
        assert isinstance(old, nn.Linear)
        with seeded():
            self.set_submodule(name, nn.Linear(old.in_features, num_classes, old.bias is not None))


def load(backbone: Backbone) -> LoadedText:
    """Loads the encoder that a spec names. It is a copy: changes to it touch no other run.

    Raises RunError `weights_missing` or `spec_invalid`.
    """
    origin = _origin(backbone)
    try:
        pretrained, tokenizer, weights_hash = _pretrained(origin, state_of(origin))
    except RunError:
        raise
    except Exception as error:  # no network, no such repository, a folder without a configuration: each has its own
        message = f"{shown(origin, 300)} could not be loaded: {first_line(error)}"
        raise RunError("weights_missing", f"backbone.weights: {message}; {_CURE}") from error
    model = copy.deepcopy(pretrained)
    takes_types = "token_type_ids" in inspect.signature(type(model).forward).parameters
    takes_types = takes_types and getattr(model.config, "type_vocab_size", 0) > 1
    put_before(model, Classifier, takes_types=takes_types)
    how = Tokenization(
        tokenizer=tokenizer.backend_tokenizer.to_str(),
        max_length=_max_length(backbone, model.config, tokenizer),
        pad_id=tokenizer.pad_token_id,
    )
    return LoadedText(model, how, weights_hash)


def _origin(backbone: Backbone) -> str:
    """A folder, or a name on the hub."""
    if backbone.weights in ("auto", "hub"):
        return backbone.name
    if backbone.weights in ("bundled", "none"):
        raise RunError("spec_invalid", f"backbone.weights: no weights of {backbone.name} are bundled; {_CURE}")
    folder = weights_path(Path(backbone.weights).expanduser())
    if not folder.is_dir():
        raise RunError("weights_missing", f"backbone.weights: there is no folder {folder}; {_CURE}")
    return str(folder)


@lru_cache(maxsize=1)  # a warm worker reads weights once, then copies
def _pretrained(origin: str, _state: tuple[tuple[str, int, int], ...]) -> tuple[Any, Any, str]:
    with quietly(), seeded():
        config = AutoConfig.from_pretrained(origin)
        tokenizer = AutoTokenizer.from_pretrained(origin)
        _check_tokenizer(origin, tokenizer)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            origin, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    _check(origin, model, loading["missing_keys"])
    head = head_prefix(model)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith(head)}
    digest = hashlib.sha256(hash_of(kept).encode() + tokenizer.backend_tokenizer.to_str().encode())
    return model, tokenizer, digest.hexdigest()


def _check_tokenizer(origin: str, tokenizer: Any) -> None:
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        message = (
            f"{shown(origin, 300)} has no tokenizer.json; save its tokenizer with a current version of transformers"
        )
        raise RunError("weights_missing", f"backbone.weights: {message}")
    if tokenizer.pad_token_id is None:
        raise RunError(
            "spec_invalid", f"backbone.weights: the tokenizer of {shown(origin, 300)} has no token of padding"
        )


def _check(origin: str, model: nn.Module, missing: set[str]) -> None:
    """Refuses a network with new layers that no method would train, and one without pretrained ones."""
    head = head_prefix(model)
    if others := sorted(name for name in missing if not name.startswith(head)):
        named = ", ".join(others[:3])
        kinds = "BERT, RoBERTa, ELECTRA or ModernBERT"
        message = f"{shown(origin, 300)} has no weights for {named} of {type(model).__name__}, outside its classifier"
        raise RunError("spec_invalid", f"backbone.name: {message}; use an encoder built as {kinds}")
    assert head_name(model) in HEADS


def _max_length(backbone: Backbone, config: Any, tokenizer: Any) -> int:
    """The spec's, else 512, and never more than the network has positions for."""
    limits = [LONGEST if backbone.max_length is None else backbone.max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        offset = (
            (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
        )  # its positions count from there
        limits.append(positions - offset)
    if 0 < tokenizer.model_max_length < 1_000_000:  # a very large number says that nobody set it
        limits.append(tokenizer.model_max_length)
    if backbone.max_length is not None and min(limits) < backbone.max_length:
        message = f"{backbone.max_length} is more than the {min(limits)} tokens that {backbone.name} reads"
        raise RunError("spec_invalid", f"backbone.max_length: {message}; use at most that")
    return min(limits)
