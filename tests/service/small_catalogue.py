"""A catalogue small enough to read, so that tests of the service do not move with the real one."""

from typing import Any

from pace_core.spec import Catalogue


def _schema(**properties: dict[str, Any]) -> dict[str, Any]:
    required = [name for name, schema in properties.items() if "default" not in schema]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def small_catalogue() -> Catalogue:
    """linear and lora_add; none and pace; own folders and the bundled tasks; the network that ships."""
    rank = {"type": "integer", "minimum": 1, "default": 8}
    noise = {"type": "number", "minimum": 0, "default": 1.0}
    return Catalogue.model_validate(
        {
            "methods": {
                "linear": {
                    "name": "linear",
                    "title": "Linear probing",
                    "params": _schema(),
                    "gives": ["merged"],
                    "fits": ["swin", "text", "vit"],
                    "starts_pretrained": True,
                },
                "lora_add": {
                    "name": "lora_add",
                    "title": "LoRA",
                    "params": _schema(rank=rank),
                    "gives": ["delta", "merged"],
                    "fits": ["swin", "text", "vit"],
                    "starts_pretrained": True,
                },
                "lora_mul_vpt_add": {
                    "name": "lora_mul_vpt_add",
                    "title": "LoRA_mul + VPT_add",
                    "params": _schema(rank=rank, alpha={"type": "number", "default": 8.0}),
                    "gives": ["delta", "merged"],
                    "fits": ["swin", "vit"],
                    "starts_pretrained": True,
                },
            },
            "regularizers": {
                "none": {"name": "none", "title": "None", "params": _schema()},
                "pace": {
                    "name": "pace",
                    "title": "PACE",
                    "params": _schema(**{"sigma": noise, "lambda": noise}),
                    "needs": ["delta"],
                    "passes": 2.0,
                },
            },
            "sources": {
                "uploaded": {
                    "name": "uploaded",
                    "title": "Uploaded folder",
                    "params": _schema(dataset={"type": "string"}),
                },
                "image_folder": {
                    "name": "image_folder",
                    "title": "Folder of images",
                    "params": _schema(path={"type": "string"}),
                },
                "vtab_1k": {
                    "name": "vtab_1k",
                    "title": "VTAB-1K",
                    "params": _schema(
                        task={"type": "string"}, path={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
                    ),
                },
                "few_shot": {
                    "name": "few_shot",
                    "title": "Few-shot",
                    "params": _schema(
                        task={"type": "string"}, shots={"type": "integer"}, draw={"type": "integer", "default": 0}
                    ),
                },
                "imagenet_shots": {
                    "name": "imagenet_shots",
                    "title": "ImageNet, 16 images a class",
                    "params": _schema(draw={"type": "integer", "default": 0}),
                },
                "glue": {
                    "name": "glue",
                    "title": "GLUE",
                    "params": _schema(task={"type": "string"}),
                    "phases": ["search"],
                    "gives": "sentences",
                },
                "vtab_mini": {
                    "name": "vtab_mini",
                    "title": "Bundled tasks",
                    "params": _schema(task={"type": "string"}),
                },
            },
            "backbones": {
                "pace_vit_mini": {
                    "name": "pace_vit_mini",
                    "title": "The network that ships",
                    "family": "vit",
                    "image_size": 64,
                    "depth": 2,
                    "width": 64,
                    "parameters": 100_000,
                    "gflops": 0.01,
                    "bundled": True,
                    "layers": {"blocks.0.attn.qkv": [64, 192], "blocks.1.attn.qkv": [64, 192]},
                }
            },
        }
    )
