"""The backbones whose sizes a spec can be checked against without torch: the one that ships, and usual ones of timm."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    Phi3Config,
    RobertaConfig,
)

from pace_core.backbones import mini
from pace_core.backbones.build import build, input_of, timm_family
from pace_core.backbones.text import LONGEST
from pace_core.network.parts import block_linears, block_of
from pace_core.spec.catalogue import BackboneEntry

_TITLES = {
    mini.NAME: mini.TITLE,
    "vit_base_patch16_224.orig_in21k": "ViT-B/16, ImageNet-21k (Dosovitskiy et al. 2021)",
    "vit_base_patch16_224.augreg_in21k": "ViT-B/16, ImageNet-21k, AugReg (Steiner et al. 2022)",
    "vit_small_patch16_224.augreg_in21k": "ViT-S/16, ImageNet-21k, AugReg (Steiner et al. 2022)",
    "vit_tiny_patch16_224.augreg_in21k": "ViT-Ti/16, ImageNet-21k, AugReg (Steiner et al. 2022)",
    "vit_large_patch16_224.augreg_in21k": "ViT-L/16, ImageNet-21k, AugReg (Steiner et al. 2022)",
    "swin_base_patch4_window7_224.ms_in22k": "Swin-B, ImageNet-22k (Liu et al. 2021)",
    "swin_small_patch4_window7_224.ms_in22k": "Swin-S, ImageNet-22k (Liu et al. 2021)",
    "swin_tiny_patch4_window7_224.ms_in22k": "Swin-T, ImageNet-22k (Liu et al. 2021)",
}


_ROBERTA = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
_ENCODERS = {
    "FacebookAI/roberta-base": ("RoBERTa-base (Liu et al. 2019)", _ROBERTA),
    "google-bert/bert-base-uncased": ("BERT-base (Devlin et al. 2019)", BertConfig()),
}
_LANGUAGE_MODELS = {"microsoft/Phi-3-mini-4k-instruct": ("Phi-3-mini (Abdin et al. 2024)", Phi3Config())}


def backbones() -> list[BackboneEntry]:
    """Lists the network that ships first, then the others as above."""
    return [
        *(_entry(name, title) for name, title in _TITLES.items()),
        *(
            _of_text(name, title, config, AutoModelForSequenceClassification)
            for name, (title, config) in _ENCODERS.items()
        ),
        *(_of_text(name, title, config, AutoModelForCausalLM) for name, (title, config) in _LANGUAGE_MODELS.items()),
    ]


def _of_text(name: str, title: str, config: Any, kind: Any) -> BackboneEntry:
    with torch.device("meta"):
        model = kind.from_config(config).eval()
    linears: dict[str, Any] = block_linears(model)
    writes = kind is AutoModelForCausalLM
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, LONGEST, dtype=torch.long, device="meta"))
    return BackboneEntry(
        name=name,
        title=title,
        family="text",
        max_length=LONGEST,
        depth=config.num_hidden_layers,
        width=config.hidden_size,
        parameters=sum(parameter.numel() for parameter in (model if writes else model.base_model).parameters()),
        gflops=round(counter.get_total_flops() / 1e9, 3),
        bundled=False,
        vocabulary=config.vocab_size if writes else 0,
        layers={layer: (linear.in_features, linear.out_features) for layer, linear in linears.items()},
    )


def _entry(name: str, title: str) -> BackboneEntry:
    with torch.device("meta"):
        model = build(name, None, drop_path=0.0).eval()
    side, _, _ = input_of(name, model)
    linears: dict[str, Any] = block_linears(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, side, side, device="meta"))
    return BackboneEntry(
        name=name,
        title=title,
        family=timm_family(name),
        image_size=side,
        depth=len({block_of(layer) for layer in linears}),
        width=model.num_features,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gflops=round(counter.get_total_flops() / 1e9, 3),
        bundled=name == mini.NAME,
        layers={layer: (linear.in_features, linear.out_features) for layer, linear in linears.items()},
    )
