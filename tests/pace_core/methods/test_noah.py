"""NOAH's three modules against their formulas, its architectures against the space of the paper."""

import random

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pace_core.methods import noah
from pace_core.network.residual import residuals
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext, noise
from pace_core.search import inherit
from pace_core.spec import RunError
from pace_core.training.optimizer import trainable
from tests.networks import images, tiny_vit

DEPTH, WIDTH = 4, 24
FOUND = {"prompt": [2, 3, 0, 0], "lora": [0, 1, 3, 2], "adapter": [3, 0, 1, 0]}


def network() -> VisionTransformer:
    return tiny_vit(embed_dim=WIDTH, depth=DEPTH).double()


def adapted(architecture: object = None, **params: object) -> tuple[VisionTransformer, noah.Params]:
    model, given = network(), noah.Params(sizes=(1, 2, 3), dropout=0.0, architecture=architecture, **params)
    noah.adapt(model, given, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return model.double().eval(), given


def test_a_block_computes_prompts_lora_and_adapter_as_the_paper_says() -> None:
    model, _ = adapted(FOUND)
    plain = network()
    x = plain._pos_embed(plain.patch_embed(images()))
    for block, own, prompts, rank, hidden in zip(plain.blocks, model.blocks, *FOUND.values(), strict=True):
        if prompts:
            x = torch.cat([x[:, :1], own.prompts.tokens.expand(3, -1, -1), x[:, 1:]], dim=1)
        if rank:
            with torch.no_grad():
                block.attn.qkv.weight += own.attn.qkv.B @ own.attn.qkv.A
        x = x + block.attn(block.norm1(x))
        u = block.mlp(block.norm2(x))
        if hidden:
            part = own.drop_path2.adapter
            t = u @ part.W1.T + part.b1
            u = u + (t * torch.sigmoid(1.702 * t)) @ part.W2.T + part.b2
        x = x + u
        x = torch.cat([x[:, :1], x[:, 1 + prompts :]], dim=1)
    expected = model.head(plain.norm(x)[:, 0])
    torch.testing.assert_close(model(images()), expected, rtol=0, atol=1e-12)


def test_an_architecture_with_the_supernets_weights_is_the_supernet_set_to_it() -> None:
    model, params = adapted()
    space = noah.space(model, params)
    space.configure(FOUND)
    alone, _ = adapted(FOUND)
    inherit(alone, model)
    torch.testing.assert_close(alone(images()), model(images()), rtol=0, atol=1e-12)
    head = {"head.weight", "head.bias"}
    assert space.num_parameters(FOUND) == sum(p.numel() for n, p in trainable(alone).items() if n not in head)


def test_released_subnets_have_the_published_number_of_parameters_in_the_search_too() -> None:
    """The count that the budget sees is the count of the built module, which the conformance tests assert."""
    params = noah.Params()
    with torch.device("meta"):
        model = VisionTransformer(num_classes=2)
        noah.adapt(model, params, torch.Generator())
    space = noah.space(model, params)
    for given, count in noah.METHOD.published_counts:
        assert space.num_parameters(given["architecture"]) == count
    largest = {module: [10] * 12 for module in noah.MODULES}
    assert space.num_parameters(largest) == 12 * (10 * 768 + 10 * (2304 + 768) + 10 * (2 * 768 + 1) + 768)


def test_random_architectures_have_a_size_from_the_space_in_a_quarter_half_or_more_of_the_blocks() -> None:
    model, params = adapted()
    space, rng = noah.space(model, params), random.Random(0)
    drawn = [space.sample(rng) for _ in range(300)]
    for module in noah.MODULES:
        depths = [sum(size > 0 for size in each[module]) for each in drawn]
        assert set(depths) == {1, 2, 3, 4}
        assert all(all(each[module][:depth]) for each, depth in zip(drawn, depths, strict=True))
        assert {size for each in drawn for size in each[module]} == {0, 1, 2, 3}
    with torch.device("meta"):
        vit_b = VisionTransformer(num_classes=2)
        noah.adapt(vit_b, noah.Params(), torch.Generator())
    assert noah.space(vit_b, noah.Params()).depths == [3, 6, 9, 12]


def test_mutations_stay_in_the_space_and_children_take_each_module_from_one_parent() -> None:
    model, params = adapted()
    space, rng = noah.space(model, params), random.Random(0)
    first, second = space.sample(rng), space.sample(rng)
    for _ in range(100):
        child = space.crossed(first, second, rng)
        assert all(child[module] in (first[module], second[module]) for module in noah.MODULES)
        for sizes in space.mutated(first, rng).values():
            used = [size for size in sizes if size]
            assert len(sizes) == DEPTH
            assert sizes == used + [0] * (DEPTH - len(used))
            assert set(used) <= {1, 2, 3}


def test_lora_and_adapters_are_noised_and_prompts_are_not() -> None:
    model, _ = adapted(FOUND)
    expected = {"blocks.0.drop_path2", "blocks.2.drop_path2", *(f"blocks.{i}.attn.qkv" for i in (1, 2, 3))}
    assert set(residuals(model)) == expected
    batch = Batch(images(4), torch.arange(4), torch.arange(4))
    context = StepContext(model.train(), Pass(SeededSource(0)), None, lambda: torch.enable_grad(), 4, 5)
    regularizer = noise.Regularizer(noise.Params(sigma=1.0), context)
    first, second = regularizer.step(batch, 0).logits, regularizer.step(batch, 1).logits
    assert not torch.allclose(first, second)
    with torch.no_grad():
        for module in residuals(model).values():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.zero_()
        model.head.weight.zero_()
        model.head.bias.zero_()
    assert torch.equal(regularizer.step(batch, 0).logits, regularizer.step(batch, 1).logits)


def test_modules_of_size_zero_change_nothing_and_gradients_reach_the_sizes_in_use_alone() -> None:
    model, params = adapted()
    space = noah.space(model, params)
    nothing = {module: [0] * DEPTH for module in noah.MODULES}
    space.configure(nothing)
    plain = network().eval()
    torch.testing.assert_close(model.forward_features(images()), plain.forward_features(images()), rtol=0, atol=1e-12)
    space.configure({module: [1] * DEPTH for module in noah.MODULES})
    nn.functional.cross_entropy(model(images()), torch.arange(3)).backward()
    block = model.blocks[1]
    assert block.prompts.tokens.grad[0].abs().max() > 0
    assert block.prompts.tokens.grad[1:].abs().max() == 0
    assert block.attn.qkv.B.grad[:, 1:].abs().max() == 0
    assert block.drop_path2.adapter.W1.grad[1:].abs().max() == 0


def test_everything_starts_as_in_the_authors_code() -> None:
    model = tiny_vit(embed_dim=192, depth=1)
    noah.adapt(model, noah.Params(sizes=(10,)), torch.Generator().manual_seed(0))
    block = model.blocks[0]
    tokens = torch.empty(1, 10, 192)
    bound = float(nn.init.xavier_uniform_(tokens).abs().max())  # of a tensor (1, 10, width): fan in 10 · width
    assert float(block.prompts.tokens.abs().max()) == pytest.approx(bound, rel=0.02)
    for weight in (block.attn.qkv.A, block.attn.qkv.B, block.drop_path2.adapter.W1, block.drop_path2.adapter.W2):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_an_architecture_of_another_depth_is_refused() -> None:
    with pytest.raises(RunError, match=r"method\.architecture\.lora: has 3 sizes") as refused:
        adapted({**FOUND, "lora": [1, 1, 1]})
    assert refused.value.reason == "spec_invalid"
