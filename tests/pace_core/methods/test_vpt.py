"""Prompts as tokens, against the network run block by block by hand and against their form as extra keys and values."""

import copy
import math
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from pace_core.adapters import merge
from pace_core.methods import vpt_deep, vpt_shallow
from pace_core.network.pretrained import pretrained_weights
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext
from pace_core.regularizers.none import Params, Regularizer
from pace_core.training.optimizer import trainable
from tests.networks import images, tiny_vit

BOTH = pytest.mark.parametrize("method", [vpt_shallow, vpt_deep], ids=lambda m: m.METHOD.name)
NUMBER = 4


def network(**settings: object) -> VisionTransformer:
    return tiny_vit(depth=3, init_values=0.5, **settings).double()


def prompted(method: ModuleType, number: int = NUMBER, **settings: object) -> VisionTransformer:
    model = network(**settings)
    method.adapt(model, method.Params(prompts=number, dropout=0.0), torch.Generator().manual_seed(0))
    return model.double().eval()


def tokens_of(model: VisionTransformer) -> Tensor:
    """What goes into the first block, without prompts."""
    return model.norm_pre(model._pos_embed(model.patch_embed(images())))


def plain_blocks(model: VisionTransformer) -> nn.ModuleList:
    """The blocks as they are without prompts."""
    blocks = network().blocks
    blocks.load_state_dict({k: v for k, v in model.blocks.state_dict().items() if "prompts" not in k})
    return nn.ModuleList(blocks).eval()


def test_shallow_prompts_go_through_all_blocks() -> None:
    model = prompted(vpt_shallow)
    x = tokens_of(model)
    prompts = model.blocks[0].prompts.tokens.expand(3, -1, -1)
    x = torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)
    for block in plain_blocks(model):
        x = block(x)
    torch.testing.assert_close(model(images()), model.head(model.norm(x)[:, 0]), rtol=0, atol=1e-12)


def test_deep_prompts_overwrite_the_rows_of_the_block_before() -> None:
    model = prompted(vpt_deep)
    x = tokens_of(model)
    x = torch.cat([x[:, :1], torch.zeros(3, NUMBER, 24), x[:, 1:]], dim=1)
    for block, own in zip(plain_blocks(model), model.blocks, strict=True):
        x = x.clone()
        x[:, 1 : 1 + NUMBER] = own.prompts.tokens
        x = block(x)
    torch.testing.assert_close(model(images()), model.head(model.norm(x)[:, 0]), rtol=0, atol=1e-12)


def attention_with_extra_keys(block: Block, x: Tensor, prompts: Tensor) -> Tensor:
    """o0 + λ (oP - o0) per head, λ = sigmoid(lse(q · kP) - lse(q · k0)): prompts need no query, projection or MLP."""
    attn = block.attn
    q, k, v = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in attn.qkv(block.norm1(x)).chunk(3, -1)
    )
    _, kp, vp = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(0, 1) for part in attn.qkv(block.norm1(prompts)).chunk(3, -1)
    )
    ordinary, extra = q @ k.transpose(-1, -2) * attn.scale, q @ kp.transpose(-1, -2) * attn.scale
    mixing = torch.sigmoid(extra.logsumexp(-1, keepdim=True) - ordinary.logsumexp(-1, keepdim=True))
    o0, op = ordinary.softmax(-1) @ v, extra.softmax(-1) @ vp
    return attn.proj((o0 + mixing * (op - o0)).transpose(1, 2).flatten(2))


def test_deep_prompts_are_extra_keys_and_values() -> None:
    model = prompted(vpt_deep)
    x = tokens_of(model)
    for block, own in zip(plain_blocks(model), model.blocks, strict=True):
        x = x + block.ls1(attention_with_extra_keys(block, x, own.prompts.tokens))
        x = x + block.ls2(block.mlp(block.norm2(x)))
    torch.testing.assert_close(model(images()), model.head(model.norm(x)[:, 0]), rtol=0, atol=1e-12)


@BOTH
def test_without_prompts_it_is_the_pretrained_network(method: ModuleType) -> None:
    model, before = prompted(method), network().eval().forward_features(images())
    assert not torch.allclose(model.forward_features(images()), before)
    with pretrained_weights(model):
        assert torch.equal(model.forward_features(images()), before)
    assert model.forward_features(images()).shape == before.shape


@BOTH
@pytest.mark.parametrize("settings", [{"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}], ids=str)
def test_prompts_stand_between_the_networks_own_tokens_and_the_patches(
    method: ModuleType, settings: dict[str, object]
) -> None:
    """A mean over the patches is over them alone."""
    model = prompted(method, **settings)
    with pretrained_weights(model):
        expected = model.forward_features(images()).shape
    assert model.forward_features(images()).shape == expected
    prefix = model.num_prefix_tokens
    x = torch.arange(10.0).view(1, 10, 1).expand(1, 10, 24).double()
    inside = model.blocks[0].prompts.put(x)
    assert torch.equal(inside[:, :prefix], x[:, :prefix])
    assert torch.equal(inside[:, prefix + NUMBER :], x[:, prefix:])
    assert torch.equal(model.blocks[0].prompts.take(inside), x)


@BOTH
def test_copies_have_prompts_of_their_own_and_saved_ones_load(method: ModuleType) -> None:
    model = prompted(method)
    copied = copy.deepcopy(model)
    expected = model(images())
    with torch.no_grad():
        for name, parameter in trainable(copied).items():
            if "prompts" in name:
                parameter.mul_(-3)
    assert torch.equal(model(images()), expected)
    assert not torch.allclose(copied(images()), expected)
    copied.load_state_dict(model.state_dict())
    assert torch.equal(copied(images()), expected)
    assert torch.equal(merge(copied)(images()), expected)


@BOTH
def test_all_prompts_learn_and_drop_path_works_beside_them(method: ModuleType) -> None:
    model = network(drop_path_rate=0.5)
    method.adapt(model, method.Params(prompts=2, dropout=0.3), torch.Generator().manual_seed(0))
    model.double().train()
    none = Regularizer(Params(), StepContext(model, Pass(SeededSource(0)), None, lambda: torch.enable_grad(), 3, 5))
    none.step(Batch(images(), torch.tensor([0, 1, 2]), torch.arange(3)), 0)
    grads = {name: parameter.grad for name, parameter in trainable(model).items()}
    assert len([name for name in grads if name.endswith("prompts.tokens")]) == (1 if method is vpt_shallow else 3)
    assert all(grad is not None and grad.abs().max() > 0 for grad in grads.values())


@BOTH
def test_prompts_begin_uniform_with_the_bound_of_the_patch_embedding(method: ModuleType) -> None:
    start = prompted(method, number=200).blocks[0].prompts.tokens
    bound = math.sqrt(6 / (3 * 8 * 8 + 24))
    assert 0.99 * bound < start.abs().max() <= bound
    assert float(start.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_dropout_takes_prompts_entries_in_training_alone() -> None:
    model = network()
    vpt_deep.adapt(model, vpt_deep.Params(prompts=50, dropout=0.5), torch.Generator().manual_seed(0))
    prompts = model.double().blocks[0].prompts
    x = torch.zeros(2, 5, 24, dtype=torch.float64)
    torch.manual_seed(0)
    dropped = prompts.train().put(x)[:, 1:51]
    assert 0.4 < float((dropped == 0).double().mean()) < 0.6
    assert not torch.equal(dropped[0], dropped[1])
    kept = dropped[0] != 0
    torch.testing.assert_close(dropped[0][kept], 2 * prompts.tokens[kept])
    assert torch.equal(prompts.eval().put(x)[0, 1:51], prompts.tokens)
    assert F.cosine_similarity(prompts.put(x)[0, 1:51].flatten(), prompts.tokens.flatten(), 0) > 0.999
