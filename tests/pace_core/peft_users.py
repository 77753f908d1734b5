"""Models and data as users of HF `peft` and `transformers` have them."""

from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import RobertaForSequenceClassification

from pace_core.peft_models import regularize
from tests.networks import stirred, tiny_roberta, tiny_vit

LORA = {"r": 4, "lora_alpha": 6, "target_modules": r"blocks\.\d+\.attn\.qkv"}
PACE = {"name": "pace", "sigma": 0.6, "lambda": 0.5}


def small_vit(*_: object, **__: object) -> VisionTransformer:
    return tiny_vit(depth=3)


def small_roberta(*_: object, **__: object) -> RobertaForSequenceClassification:
    return tiny_roberta(num_hidden_layers=3, max_position_embeddings=16, num_labels=2)


def loader() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(2)
    return [(torch.randn(6, 3, 16, 16, generator=rng), torch.arange(6) % 5) for _ in range(3)]


def of_user(**config: object) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = get_peft_model(small_vit(), LoraConfig(**{**LORA, "modules_to_save": ["head"], **config}))
    stirred(model)
    return model, torch.optim.AdamW(trained(model), lr=3e-3)


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients(model: nn.Module, regularizer: dict[str, Any], **batch: Any) -> list[Tensor]:
    """Of one step, in float64, under the same noise and the same random state."""
    torch.manual_seed(3)
    images, labels = loader()[0]
    model.double().train().zero_grad()
    made = regularize(model, torch.optim.SGD(trained(model), lr=0.1), regularizer, seed=4)
    made.step(batch.get("images", images).double(), batch.get("labels", labels))
    return [parameter.grad.clone() for parameter in trained(model)]


HF_NETWORKS = {
    "vit": (transformers.ViTForImageClassification, transformers.ViTConfig, {}),
    "deit": (transformers.DeiTForImageClassification, transformers.DeiTConfig, {}),
    "beit": (
        transformers.BeitForImageClassification,
        transformers.BeitConfig,
        {"use_relative_position_bias": True, "drop_path_rate": 0.0},
    ),
    "dinov2": (transformers.Dinov2ForImageClassification, transformers.Dinov2Config, {"mlp_ratio": 2}),
    "swin": (
        transformers.SwinForImageClassification,
        transformers.SwinConfig,
        {
            "patch_size": 2,
            "embed_dim": 12,
            "depths": (1, 2),
            "num_heads": (2, 3),
            "window_size": 4,
            "drop_path_rate": 0.0,
        },
    ),
}
HF_SIZES = {"image_size": 16, "patch_size": 8, "hidden_size": 24, "intermediate_size": 48, "num_labels": 5}
HF_DEPTH = {"num_hidden_layers": 3, "num_attention_heads": 3}


def hf_network(kind: str, **settings: Any) -> nn.Module:
    build, config, own = HF_NETWORKS[kind]
    torch.manual_seed(1)
    return build(config(**{**HF_SIZES, **({} if kind == "swin" else HF_DEPTH), **own, **settings}))


def of_hf(kind: str, **settings: Any) -> nn.Module:
    config = LoraConfig(r=4, target_modules=["q_proj", "fc1"], modules_to_save=["classifier"])
    return stirred(get_peft_model(hf_network(kind, **settings), config), by=0.2).double()


class Sentences(Dataset[dict[str, Any]]):
    """Of different lengths, padded; the label says whether the first token is even."""

    def __init__(self, size: int = 24) -> None:
        self.tokens = torch.randint(2, 40, (size, 8), generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> dict[str, Any]:
        mask = torch.arange(8) < 4 + number % 5
        tokens = self.tokens[number].where(mask, 1)
        return {"input_ids": tokens, "attention_mask": mask.long(), "labels": int(tokens[0]) % 2}


def text_model() -> nn.Module:
    return get_peft_model(small_roberta(), LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4))
