"""Noise on the adapters: which layer gets how much of it, and one mask of what is dropped for all draws of a sample."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from pace_core.network.layer_noise import LayerNoise
from pace_core.network.parts import block_of, blocks_of, has_new_head, head_name, network_family
from pace_core.network.residual import Noised, residuals
from pace_core.network.roles import put_before
from pace_core.noise import Pass
from pace_core.regularizers._noise_params import Depth, NoiseParams


def depth_sigmas(sigma: float, levels: int, skipped: int, depth: Depth = "decreasing") -> list[float]:
    """Returns the std of the noise by level: sigma / n to sigma over the n noised levels, none in the first `skipped`.

    Falling linearly over depth in PACE (section 3.5); constant and increasing are Table 8's. A level is a block, the
    head is the last one.
    """
    noised = levels - skipped
    left = {
        "decreasing": [noised - l for l in range(noised)],  # noqa: E741
        "constant": [noised] * noised,
        "increasing": [l + 1 for l in range(noised)],  # noqa: E741
    }
    return [0.0] * skipped + [sigma * share / noised for share in left[depth]]


def sigma_by_layer(model: nn.Module, sigma: float, depth: Depth = "decreasing") -> dict[str, float]:
    """Returns the std of the noise of every adapted layer and the head; a ViT's first block has none, a Swin's has."""
    blocks = blocks_of(model)
    new_head = has_new_head(model)  # a pretrained one is noised no more than the rest of the pretrained network
    sigmas = depth_sigmas(sigma, len(blocks) + new_head, _skipped(model), depth)
    by_block = dict(zip(blocks, sigmas, strict=False))
    order = [name for name, _ in model.named_modules()]
    last = order.index(blocks[-1])

    def std(name: str) -> float:
        block = block_of(name)
        if block is not None:
            return by_block[block]
        return sigmas[-1] if order.index(name) > last else 0.0  # beside the head, or before the first block

    of_head = {head_name(model): sigmas[-1]} if new_head else {}
    return {name: std(name) for name in residuals(model)} | of_head


def attach_noise(model: nn.Module, current: Pass, params: NoiseParams) -> None:
    """Makes the model's adapted layers, its head, drop paths and dropouts follow `current`."""
    on_output = params.perturb == "output" or params.noise == "additive"  # to which part it is added is the same
    for name, std in sigma_by_layer(model, params.sigma, params.depth).items():
        layer = model.get_submodule(name)
        assert isinstance(layer, Noised)
        layer.layer_noise = LayerNoise(layer.name, std, current, params.noise, on_output) if std > 0 else None
    noised = [*blocks_of(model)[_skipped(model) :], head_name(model)]
    for name, module in model.named_modules():
        if type(module).__name__.endswith("DropPath"):  # timm's, and the copies of it in `transformers`
            put_before(module, SharedDropPath, name=name, current=current)
        elif type(module) is nn.Dropout:
            put_before(module, SharedDropout, name=name, current=current)
            if name.endswith(_READ_BY_ATTENTION):
                module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    for number, block in enumerate(noised[:-1] or noised):
        hook = partial(_fork, current) if number == 0 else partial(_follow, current)
        model.get_submodule(block).register_forward_pre_hook(hook, with_kwargs=True)


# attention draws its own mask, with the p that it finds here, and no two draws would have the same: it drops nothing
_READ_BY_ATTENTION = ("attention.self.dropout", "attn.attn_drop")


class SharedDropPath(nn.Module):
    """Role of a drop path (see `put_before`): under noise it drops all draws of a sample together.

    `Pass.drop_path_factor` has the scaling. In other passes the module is what it was.
    """

    name: str
    current: Pass
    drop_prob: float | None

    def forward(self, x: Tensor) -> Tensor:
        if not self.current.noisy:
            return super().forward(x)
        if not self.training or not self.drop_prob:
            return x
        samples = self.current.samples.stop - self.current.samples.start
        factor = self.current.drop_path_factor(self.name, 1 - self.drop_prob, x, x.shape[0] // samples)
        return x * factor.view(-1, *[1] * (x.dim() - 1))


class SharedDropout(nn.Module):
    """Role of a dropout: one mask for all draws of a sample, since their distance is to measure the noise alone."""

    name: str
    current: Pass
    p: float

    def forward(self, x: Tensor) -> Tensor:
        if not self.current.noisy or not self.training or self.p == 0:
            return super().forward(x)
        return x * (self.current.entry_mask(self.name, 1 - self.p, x) / (1 - self.p))


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _fork(current: Pass, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Before the first noised block the draws of a sample agree: that prefix is computed once, then repeated."""
    if not current.noisy or current.perturbations == 1:
        return args, kwargs
    current.forked = True
    x, *rest = args
    return _follow(current, block, (x.repeat(current.perturbations, *[1] * (x.dim() - 1)), *rest), kwargs)


def _follow(current: Pass, _block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """What a text block is given beside its tokens, such as a mask by sample, is repeated as they are."""
    if not current.noisy or current.perturbations == 1:
        return args, kwargs
    samples = current.samples.stop - current.samples.start

    def repeated(value: Any) -> Any:
        if isinstance(value, tuple):  # cosines and sines of positions
            return tuple(map(repeated, value))
        if isinstance(value, Tensor) and value.dim() > 1 and len(value) == samples:
            return value.repeat(current.perturbations, *[1] * (value.dim() - 1))
        return value

    x, *rest = args
    return (x, *map(repeated, rest)), {key: repeated(value) for key, value in kwargs.items()}


def _skipped(model: nn.Module) -> int:
    return 0 if network_family(model) == "swin" else 1
