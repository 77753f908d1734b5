"""RunSpec: everything that decides what a run computes."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from pace_core.spec.params import ParamsModel, Section
from pace_core.spec.text import LONGEST_NAME, is_one_line


class Chosen(Section):
    """Something chosen by name, with its own parameters beside the name (checked against the catalogue)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1, max_length=LONGEST_NAME)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters without the name."""
        return dict(self.__pydantic_extra__ or {})


class Task(Chosen):
    """The data set: a benchmark's task by name (`vtab-mini/digits`), or the user's own name with a `source`."""

    source: str
    """A data source of the catalogue, such as `image_folder`; filled in for a benchmark's task."""
    phase: Literal["search", "final"] = "final"
    """search: train on train, measure on val, the test split stays closed. final: train on train+val, test once."""
    num_classes: int | None = Field(default=None, ge=2, le=1_000_000)
    """Fixed for a benchmark's task; taken from the training data where None."""

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not is_one_line(name) or not name.strip():
            raise ValueError("must be one line of visible text, as tables and MLflow show it")
        return name


class Backbone(ParamsModel):
    """The pretrained network."""

    name: str = "pace_vit_mini"
    """`pace_vit_mini`, which ships, or the name of any timm ViT or Swin."""
    weights: str = "auto"
    """auto (bundled for the network that ships, else hub), bundled, hub, none, or a path: .safetensors, .pth, .npz."""
    image_size: int | None = Field(default=None, ge=16, le=1024)
    """Side of the square input in pixels; the network's own where None."""
    normalization: Literal["weights", "imagenet", "half", "none"] = "weights"
    """Mean and std of the input: as the weights were trained, ImageNet's, 0.5 and 0.5, or 0 and 1."""


class Optimizer(ParamsModel):
    """AdamW (Loshchilov & Hutter 2019), the optimizer of every row of the paper."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Highest learning rate, after warm-up."""
    weight_decay: float = Field(default=1e-4, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)


class Training(ParamsModel):
    """The loop: how long, in what batches, under which schedule."""

    epochs: int = Field(default=100, ge=0, le=10_000)
    """0 evaluates the pretrained model."""
    batch_size: int = Field(default=64, ge=1, le=1_000_000)
    micro_batch: int | None = Field(default=None, ge=1, le=1_000_000)
    """Samples per forward pass, for little memory; the gradient is that of the whole batch. None: all at once."""
    warmup_epochs: float = Field(default=10, ge=0)
    """Epochs of linear warm-up from warmup_lr to optimizer.lr."""
    warmup_lr: float = Field(default=1e-6, ge=0)
    min_lr: float = Field(default=1e-5, ge=0)
    """Where the cosine ends."""
    schedule: Literal["epoch", "step"] = "epoch"
    """When the rate changes: once per epoch as the authors do, or every step (for short runs)."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Highest rate of stochastic depth; grows linearly over the blocks."""
    augmentation: Literal["none", "crop_flip"] = "none"
    """Of training images: none as VTAB-1K, or random crop and flip as FGVC and few-shot."""
    precision: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
    """auto: bfloat16 autocast on GPUs that have it, else float32."""
    eval_every: int = Field(default=10, ge=1, le=1_000_000)
    """Epochs between evaluations on validation data (phase search); the last epoch is always evaluated."""
    checkpoint_every_steps: int = Field(default=50, ge=1, le=1_000_000_000)
    diagnostics: bool = False
    """Also measure, at every evaluation, gradient norms, FP-distance and loss on held-out data, accuracy and loss on
    the training images without noise (costs extra passes)."""


class Resources(ParamsModel):
    """What the run computes on; changes no result except in the last bits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of the training process."""
    memory_gib: float | None = Field(default=None, gt=0, le=100_000)
    """Free memory a slot must have to be given the run; estimated where None."""


class RunSpec(Section):
    """One run of the core. Build it with `validate`, which fills defaults and finds every fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    backbone: Backbone = Backbone()
    method: Chosen
    regularizer: Chosen = Chosen(name="none")
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    init_from: str | None = None
    """URI of an adapter to start from."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    resources: Resources = Resources()

    def json_dict(self) -> dict[str, Any]:
        """The spec as plain JSON data, defaults included."""
        return self.model_dump(mode="json", by_alias=True)
