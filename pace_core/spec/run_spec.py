"""RunSpec: everything that decides what a run computes."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from pace_core.spec.params import ParamsModel, Section
from pace_core.spec.text import LONGEST_NAME, is_one_line

MEASURED = {
    "search": "task.phase is search: val is measured, to choose settings by; the test split stays closed",
    "final": "task.phase is final: test is measured, to report once; choose settings with task.phase search",
}
"""What a phase means for the number that comes out."""


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
    """Which images the number comes from. search, to choose settings by: trains on train, measures on val, the test
    split stays closed. final, to report once: trains on train (and on val, where the data source says so), measures on
    test; settings that are chosen by test results look better than they are."""
    num_classes: int | None = Field(default=None, ge=1, le=1_000_000)
    """Fixed for a benchmark's task; taken from the training data where None."""

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not is_one_line(name) or not name.strip():
            raise ValueError("must be one line of visible text, as tables and MLflow show it")
        return name


WEIGHT_FILES = (".safetensors", ".pth", ".npz")
"""Endings of the weight files that can be read."""


class Backbone(ParamsModel):
    """The pretrained network."""

    name: str = "pace_vit_mini"
    """`pace_vit_mini`, which ships, or the name of any timm ViT or Swin. For a task of texts the name of a network of
    `transformers` on the hub, such as FacebookAI/roberta-base, or a name of your own for one whose folder `weights`
    names."""
    weights: str = "auto"
    """auto (bundled for the network that ships, else hub), bundled, hub, none, or a path: .safetensors, .pth, .npz; for
    a task of texts the folder of a network of `transformers`."""
    image_size: int | None = Field(default=None, ge=16, le=1024)
    """Side of the square input in pixels; the network's own where None."""
    max_length: int | None = Field(default=None, ge=4, le=1_000_000)
    """Tokens of the longest text, with those around it; longer ones are cut. 512, or as many as the network reads,
    where None."""
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    """Numbers of the weights of a network for texts that are not trained: bfloat16 takes half the memory, and needs
    training.precision bfloat16. What is trained stays in float32."""
    normalization: Literal["weights", "imagenet", "half", "none"] = "weights"
    """Mean and std of the input: as the weights were trained, ImageNet's, 0.5 and 0.5, or 0 and 1."""


class Optimizer(ParamsModel):
    """Optimizer of what is trained: AdamW (Loshchilov & Hutter 2019), as in every row of PACE, or SGD, as VPT has
    it. The parameters that a method names as undecayed take no weight decay."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=5e-3, gt=0)
    """Highest learning rate, after warm-up."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Decoupled from the gradient under adamw, part of it under sgd."""
    head_lr: float | None = Field(default=None, gt=0)
    """Highest learning rate of the head; lr where None."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Longest gradient: where the Euclidean norm over all trained parameters is above it, the gradient is shortened to
    it. None clips nothing."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Used by SGD only."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Used by AdamW only."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Used by AdamW only."""


class Training(ParamsModel):
    """The loop: how long, in what batches, under which schedule, on which images."""

    epochs: int = Field(default=100, ge=0, le=10_000)
    """0 evaluates the pretrained model."""
    batch_size: int = Field(default=16, ge=1, le=1_000_000)
    micro_batch: int | None = Field(default=None, ge=1, le=1_000_000)
    """Samples per forward pass, for little memory; the gradient is that of the whole batch. None: all at once."""
    recompute: bool = False
    """Whether blocks keep their input alone and are computed again in the backward pass: a fraction of the memory, for
    a third more time; the result is the same."""
    warmup_epochs: float | None = Field(default=None, ge=0, validate_default=True)
    """Epochs of linear warm-up from warmup_lr to optimizer.lr; a tenth of the run where None."""
    warmup_lr: float = Field(default=1e-6, ge=0)
    """Where the warm-up begins."""
    min_lr: float = Field(default=1e-5, ge=0)
    """Where the rate ends."""
    schedule: Literal["step", "epoch", "linear"] = "step"
    """How the rate falls: every step by a cosine (step) or evenly (linear, as LoRA on GLUE), or once per epoch and one
    epoch late, as the authors' code does (the first two epochs run at warmup_lr, so it is for long runs)."""
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    """Highest rate of stochastic depth; grows linearly over the blocks. Where None: 0.1, and 0 for texts and under a
    method that leaves the backbone's features as they are (linear, vpt_deep, vpt_shallow)."""
    head_init: Literal["normal", "timm", "zero"] = "normal"
    """Start of the classifier: normal (std 0.02, zero bias), timm (uniform within ±1/√width, as PACE's code has it), or
    zero (as ARC and RLRR)."""
    augmentation: Literal["none", "crop_flip"] = "none"
    """Of training images: none as VTAB-1K, or random crop and flip as FGVC and few-shot."""
    rand_augment: str | None = None
    """timm's RandAugment of training images by its configuration, such as rand-m9-mstd0.5-inc1; None: without."""
    mixup: float = Field(default=0.0, ge=0, le=100)
    """alpha of mixup: samples are mixed in pairs by a share drawn in each step from Beta(alpha, alpha). 0: without."""
    cutmix: float = Field(default=0.0, ge=0, le=100)
    """alpha of CutMix, which mixes by a rectangle; with mixup too, each step draws one of both. 0: without."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of a label's weight that is spread evenly over all classes."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay a step of the moving average of the trained parameters, which is then what is evaluated and saved. None:
    the last step's parameters are."""
    precision: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
    """auto: bfloat16 autocast on GPUs that have it, else float32."""
    eval_every: int = Field(default=10, ge=1, le=1_000_000)
    """Epochs between evaluations on validation data (phase search); the last epoch is always evaluated."""
    checkpoint_every_steps: int = Field(default=50, ge=1, le=1_000_000_000)
    diagnostics: bool = False
    """Also measure, at every evaluation, gradient norms, FP-distance and loss on held-out data, accuracy and loss on
    the training images without noise (costs extra passes)."""

    @field_validator("warmup_epochs")
    @classmethod
    def _a_tenth_of_the_run(cls, value: float | None, info: ValidationInfo) -> float | None:
        epochs: int | None = info.data.get("epochs")
        return epochs / 10 if value is None and epochs is not None else value

    @property
    def warmup(self) -> float:
        """Epochs of warm-up."""
        return self.warmup_epochs or 0.0


def _label(text: str) -> str:
    if not 1 <= len(text) <= 100 or not is_one_line(text) or text != text.strip() or set(text) & set("=,"):
        raise ValueError("must be 1 to 100 characters of one line, without `=` and commas, as workers' labels are")
    return text


Label = Annotated[str, AfterValidator(_label)]
"""Name or value of a worker's label."""


Split = Literal["train", "val", "test"]


class Resources(ParamsModel):
    """Resources that the run computes with; they change no result except in the last bits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of the training process."""
    memory_gib: float | None = Field(default=None, gt=0, le=100_000)
    """Free memory a slot must have to be given the run; estimated where None."""
    requires: dict[Label, Label] = Field(default={}, max_length=20)
    """Labels that a slot must have, with their values, such as {gpu: H100}; `pace workers` lists them."""
    images: dict[Split, Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]] | None = None
    """Images of each split of a data set of your own, by which memory and time are estimated; `pace` counts them where
    the data lie on its machine. 1,000 of each where None."""


# a new field with a default goes here, whenever runs without it did what it does by default
_LATER: dict[tuple[str, str], Any] = {
    ("backbone", "max_length"): None,
    ("backbone", "frozen_dtype"): "float32",
    ("training", "recompute"): False,
}


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
    """A job whose adapter to start from; in `pace train` the path of an adapter."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    resources: Resources = Resources()

    def json_dict(self) -> dict[str, Any]:
        """Returns the spec as plain JSON data, defaults included, but those of fields that came later.

        So a run of before has the same spec as one that leaves these fields alone, and counts for the same cell.
        """
        said = self.model_dump(mode="json", by_alias=True)
        for (section, field), default in _LATER.items():
            if said[section][field] == default:
                del said[section][field]
        return said
