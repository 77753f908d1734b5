"""The file that a run leaves: what was trained, with all that is needed to use it (spec, labels, preprocessing)."""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from pace_core import methods, storage
from pace_core.adapter_content import NAME, adapter_content
from pace_core.backbones import load
from pace_core.decoding import decode
from pace_core.network.parts import block_linears, head_prefix, network_family
from pace_core.network.residual import NoisedHead, plain_linear, residuals
from pace_core.preprocessing import Preprocessing
from pace_core.spec import RESULTS_VERSION, RunError, RunSpec
from pace_core.spec.conflicts import rank_above_width
from pace_core.spec.text import shown
from pace_core.tensors import pack, unpack
from pace_core.tokenization import SCORE, Sentences, Tokenization
from pace_core.training.optimizer import trainable
from pace_core.training.precision import Precision

if TYPE_CHECKING:
    from pace_core.chat import Chat

_BATCH = 64
_NAMED = 3
_TRANSFORM = TypeAdapter(Preprocessing)
SMALLEST_IMAGE, LARGEST_IMAGE = 16, 1024  # as backbone.image_size
_EXCHANGED, _AROUND_ONE = "A and B have swapped their names", "scales are saved as their difference to 1"
_CHANGED = {  # what a method's saved tensors mean, since which results version
    "adapter": (2, "adapters stand behind the drop path and have another activation"),
    "lora_add": (2, _EXCHANGED),
    "lora_add_vpt_add": (2, _EXCHANGED),
    "lora_mul": (2, _EXCHANGED),
    "lora_mul_vpt_add": (2, _EXCHANGED),
    "noah": (2, _EXCHANGED),
    "rlrr": (2, _AROUND_ONE),
    "ssf": (2, _AROUND_ONE),
}


@dataclass(frozen=True)
class AdapterFile:
    """The content of an adapter file."""

    spec: RunSpec
    class_names: tuple[str, ...]
    preprocessing: "Preprocessing | Tokenization | Chat"
    weights_hash: str
    """Of the backbone that it was trained on."""
    tensors: dict[str, Tensor]
    """What was trained, by the model's parameter names."""


def adapter_bytes(file: AdapterFile) -> bytes:
    """Returns the bytes of the file; equal weights and settings give equal bytes."""
    facts = {
        "spec": file.spec.json_dict(),
        "class_names": file.class_names,
        "preprocessing": asdict(file.preprocessing),
        "weights_hash": file.weights_hash,
        "results_version": RESULTS_VERSION,
    }
    return pack(file.tensors, facts)


def save_adapter(file: AdapterFile, folder: str) -> tuple[str, str]:
    """Writes it into the folder; its URL and SHA-256."""
    url, content = storage.join(folder, NAME), adapter_bytes(file)
    storage.write(url, content)
    return url, hashlib.sha256(content).hexdigest()


def read_adapter(uri: str) -> AdapterFile:
    """Returns the adapter at a path or URL. Raises RunError `weights_missing` where there is none that can be read."""
    return parse_adapter(adapter_content(uri), uri)


def parse_adapter(content: bytes, uri: str) -> AdapterFile:
    """Returns the adapter that a file's content is. Raises RunError `weights_missing`."""
    try:
        tensors, facts = unpack(content)
        preprocessing = _preprocessing(facts["preprocessing"])
        names = tuple(facts["class_names"])
        if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError("its class names are not distinct strings")
        spec = RunSpec.model_validate(facts["spec"])
        _require_same_meaning(spec.method.name, facts.get("results_version", 1), uri)
        return AdapterFile(spec, names, preprocessing, facts["weights_hash"], tensors)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = f"{uri} is an adapter of another version of this product: {where}: {error.errors()[0]['msg']}"
        raise RunError("weights_missing", message) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError("weights_missing", f"{uri} is not an adapter: {error}") from error


def _preprocessing(said: Any) -> "Preprocessing | Tokenization | Chat":
    """Raises ValueError, KeyError or TypeError for what no run has written."""
    if "stops" in said:  # of a language model, whose libraries load slowly
        return importlib.import_module("pace_core.chat").Chat.read(said)
    if "tokenizer" in said:
        return Tokenization.read(said)
    made = _TRANSFORM.validate_python(asdict(Preprocessing.read(said)))
    if not SMALLEST_IMAGE <= made.image_size <= (made.resize_to or made.image_size) <= 2 * LARGEST_IMAGE:
        raise ValueError(f"its images have less than {SMALLEST_IMAGE} or more than {LARGEST_IMAGE} pixels a side")
    if not (len(made.mean) == len(made.std) == 3 and min(made.std) > 0):
        raise ValueError("its mean and std are not those of three channels")
    return made


def _require_same_meaning(method: str, made: int, uri: str) -> None:
    """Raises RunError `weights_missing` for a file whose tensors meant something else when they were saved."""
    since, change = _CHANGED.get(method, (1, ""))
    if made < since:
        message = (
            f"{uri} was made by an earlier version of this product (results version {made}); since {since} {change}"
        )
        raise RunError("weights_missing", f"{message}, so it would compute something else; train it again")


def adapt_model(model: nn.Module, spec: RunSpec, rng: torch.Generator) -> None:
    """Puts the spec's method into the model, in place. Raises RunError `spec_invalid` where the two do not fit.

    The catalogue refuses what it knows at submission; it does not know the family and widths of every network of timm.
    """
    method, family = methods.find(spec.method.name), network_family(model)
    if family not in method.fits:
        fits = ", ".join(sorted(method.fits))
        message = f"method.name: {method.name} cannot adapt {spec.backbone.name} ({family}); it fits {fits}"
        raise RunError("spec_invalid", message)
    params = method.params.model_validate(spec.method.params)
    sides = {name: (layer.weight.shape[1], layer.weight.shape[0]) for name, layer in block_linears(model).items()}
    if too_wide := rank_above_width(params.model_dump(), method.params.model_json_schema()["properties"], sides):
        raise RunError("spec_invalid", f"method.rank: {too_wide}")
    method.adapt(model, params, rng)


@torch.no_grad()
def load_trained(model: nn.Module, tensors: dict[str, Tensor], *, origin: str, head: bool = True) -> None:
    """Sets the adapted model's trained parameters to those of a file; with `head` false, all but the head's.

    Raises RunError `spec_invalid` where the file is of another method or size.
    """
    parameters = trainable(model)
    if not head:
        prefix = head_prefix(model)
        parameters = {name: parameter for name, parameter in parameters.items() if not name.startswith(prefix)}
    if unfit := _unfit(parameters, tensors):
        more = f" and {len(unfit) - _NAMED} more" if len(unfit) > _NAMED else ""
        cure = "it needs the same method, sizes and backbone"
        raise RunError("spec_invalid", f"{origin} does not fit: {', '.join(unfit[:_NAMED])}{more}; {cure}")
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def _unfit(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    absent = [f"it has no {name}" for name in parameters if name not in tensors]
    return absent + [
        f"{name} is {tuple(tensors[name].shape)} there and {tuple(parameter.shape)} here"
        for name, parameter in parameters.items()
        if name in tensors and tensors[name].shape != parameter.shape
    ]


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Turns adapted layers that merge into ordinary ones with the same output, in place."""
    for name, layer in residuals(model).items():
        model.set_submodule(name, layer.plain_module())
    for name, module in list(model.named_modules()):
        if isinstance(module, NoisedHead):
            model.set_submodule(name, plain_linear(module.weight, module.bias))
    return model.eval()


class Predictor:
    """A fine-tuned model, merged and ready."""

    def __init__(self, file: AdapterFile, device: torch.device | str = "cpu") -> None:
        """Raises RunError where the backbone could not be loaded or is not the one that the adapter was trained on."""
        spec = file.spec
        self.writes = not isinstance(file.preprocessing, Preprocessing | Tokenization)
        reads_images = isinstance(file.preprocessing, Preprocessing)
        loaded = load.load(spec, "problems" if self.writes else "images" if reads_images else "sentences")
        loaded.model.reset_classifier(len(file.class_names))
        if loaded.weights_hash != file.weights_hash:
            message = f"backbone.weights: the adapter was trained on other weights of {spec.backbone.name} than these"
            raise RunError("weights_missing", message)
        try:
            adapt_model(loaded.model, spec, torch.Generator().manual_seed(0))
        except (KeyError, ValidationError) as error:
            why = "this version does not know the method or its parameters"
            raise RunError("weights_missing", f"{spec.method.name}: {why} ({shown(str(error))})") from error
        load_trained(loaded.model, file.tensors, origin="the adapter")
        self.model = merge(loaded.model).to(device)
        self.class_names = file.class_names
        self._preprocessing, self._device = file.preprocessing, device
        self.scores = file.class_names == (SCORE,)

    @torch.no_grad()
    def probabilities(self, inputs: Tensor) -> Tensor:
        """Returns the classes' probabilities [N, classes]; where labels are scores, the scores [N, 1].

        inputs: uint8 images [N, S, S, 3] of the network's size, or tokens [N, 3, length].
        """
        parts = inputs.to(self._device).split(_BATCH)
        logits = torch.cat([self.model(self._preprocessing(part, torch.float32)) for part in parts]).cpu()
        return logits if self.scores else logits.softmax(1)

    def tokens(self, texts: Sequence[Sentences]) -> Tensor:
        """Returns texts as the network's input [N, 3, length]."""
        assert isinstance(self._preprocessing, Tokenization)
        return self._preprocessing.encode(texts)[0]

    def replies(self, texts: Sequence[str], new_tokens: int) -> list[str]:
        """Returns what a language model writes to each text."""
        generate = importlib.import_module("pace_core.training.generate")
        precision = Precision("float32", torch.float32, nullcontext)
        return generate.replies_of(self.model, texts, new_tokens, self._preprocessing, precision, self._device)

    def pixels(self, path: str) -> NDArray[np.uint8]:
        """Returns an image file as the network's input [S, S, 3]. Raises RunError where it cannot be read."""
        how = self._preprocessing
        assert isinstance(how, Preprocessing)
        return how.middle(decode(Path(path), how).pixels)

    def of_files(self, paths: Sequence[str]) -> list[tuple[str, float]]:
        """Returns each image file's likeliest class with its probability. Raises RunError for an unreadable file."""
        best = self.probabilities(torch.from_numpy(np.stack([self.pixels(path) for path in paths]))).max(1)
        return [(self.class_names[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
