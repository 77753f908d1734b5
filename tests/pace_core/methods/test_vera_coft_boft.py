"""VeRA, COFT and BOFT against HF peft's: equal outputs and gradients with the same parameters."""

from types import ModuleType

import pytest
import torch
import transformers
from peft import BOFTConfig, OFTConfig, PeftConfig, VeraConfig, get_peft_model
from peft.tuners.boft.layer import BOFTLayer
from torch import Tensor, nn

from pace_core.adapters import merge
from pace_core.methods import boft, coft, vera
from pace_core.methods._rotation import cayley, skew
from pace_core.network.parts import head_prefix
from pace_core.network.residual import residual_layers
from pace_core.spec import RunError
from pace_core.training.optimizer import trainable
from tests.networks import images, stirred, tiny_vit

LINEARS = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))"


def ours(method: ModuleType, params: dict[str, object], size: float = 0.1, width: int = 24) -> nn.Module:
    model = tiny_vit(embed_dim=width).double()
    method.adapt(model, method.Params(**params), torch.Generator().manual_seed(0))
    return stirred(model.double(), size).train()


def theirs(config: PeftConfig, head: nn.Module) -> nn.Module:
    model = get_peft_model(tiny_vit().double(), config).base_model.model.double().train()
    model.head.load_state_dict(head.state_dict())
    return model


def close(a: Tensor, b: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def same_outputs_and_gradients(first: nn.Module, second: nn.Module, atol: float = 1e-10) -> None:
    close(first(images()), second(images()), atol)
    for model in (first, second):
        model(images()).square().sum().backward()


@pytest.mark.parametrize(("targets", "modules"), [("qkv", r"blocks\.\d+\.attn\.qkv"), ("all", LINEARS)])
def test_vera_agrees_with_peft_down_to_the_random_projections(targets: str, modules: str) -> None:
    mine = ours(vera, {"rank": 5, "targets": targets, "projection_seed": 7})
    other = theirs(VeraConfig(r=5, target_modules=modules, projection_prng_key=7, d_initial=0.1), mine.head)
    with torch.no_grad():
        for name, layer in residual_layers(mine).items():
            peer = other.get_submodule(name)
            close(peer.vera_A["default"], layer.projections.A)
            close(peer.vera_B["default"], layer.projections.B)
            peer.vera_lambda_d["default"].copy_(layer.d[0])
            peer.vera_lambda_b["default"].copy_(layer.b[0])
    same_outputs_and_gradients(mine, other)
    for name, layer in residual_layers(mine).items():
        close(layer.d[0].grad, other.get_submodule(name).vera_lambda_d["default"].grad)
        close(layer.b[0].grad, other.get_submodule(name).vera_lambda_b["default"].grad)


def test_veras_q_and_v_leave_the_keys_as_they_were() -> None:
    for layer in residual_layers(ours(vera, {"rank": 5})).values():
        query, key, value = layer.delta_weight().chunk(3)
        assert key.abs().max() == 0
        A, B = layer.projections.A, layer.projections.B
        for number, part in enumerate((query, value)):
            close(part, torch.diag(layer.b[number]) @ B @ torch.diag(layer.d[number]) @ A)


def test_veras_projections_do_not_depend_on_the_seed_of_the_run() -> None:
    first, second = tiny_vit().double(), tiny_vit().double()
    for seed, model in enumerate((first, second)):
        vera.adapt(model, vera.Params(rank=5), torch.Generator().manual_seed(seed))
    a, b = (model.blocks[0].attn.qkv.projections for model in (first, second))
    assert torch.equal(a.A, b.A)
    assert torch.equal(a.B, b.B)


@pytest.mark.parametrize("eps", [1e-3, 1.0], ids=["beyond the bound", "within it"])
def test_coft_agrees_with_peft(eps: float) -> None:
    mine = ours(coft, {"block_size": 8, "eps": eps})
    config = OFTConfig(
        r=0, oft_block_size=8, target_modules=LINEARS, coft=True, eps=eps * 8**2, use_cayley_neumann=False
    )
    other = theirs(config, mine.head)
    with torch.no_grad():
        for name, layer in residual_layers(mine).items():
            other.get_submodule(name).oft_R["default"].weight.copy_(layer.entries)
    same_outputs_and_gradients(mine, other, atol=1e-7)  # they take the root in float32
    for name, layer in residual_layers(mine).items():
        peer = other.get_submodule(name).oft_R["default"].weight
        close(layer.entries, peer, atol=1e-7)
        close(layer.entries.grad, peer.grad, atol=1e-7)
        norms = skew(layer.entries, 8).flatten(1).norm(dim=1)
        assert (norms <= layer.bound * (1 + 1e-9)).all()
        assert (norms.max() > 0.99 * layer.bound) == (eps == 1e-3)


@pytest.mark.parametrize(("params", "share"), [({}, 0.16), ({"block_size": 32}, 0.0044)])
def test_cofts_default_leaves_a_layer_of_vit_b_as_much_rotation_as_the_authors(
    params: dict[str, object], share: float
) -> None:
    """‖R - I‖ / ‖I‖ with every block on its bound, of their 4 blocks and of `peft`'s usual size."""
    layer = coft.Layer(nn.Linear(768, 2), "qkv", coft.Params(**params)).train()
    with torch.no_grad():
        layer.entries.normal_(generator=torch.Generator().manual_seed(0))
        difference = layer.rotations() - torch.eye(layer.size)
    assert float(difference.norm()) / 768**0.5 == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize(("inputs", "size"), [(768, 192), (6, 1), (22, 2), (2, 1)])
def test_cofts_blocks_are_as_many_as_asked_or_the_next_number_that_divides(inputs: int, size: int) -> None:
    assert coft.Layer(nn.Linear(inputs, 2), "qkv", coft.Params()).size == size


def test_a_boft_by_default_is_a_butterfly() -> None:
    """A channel reaches others outside its own block of the first factor."""
    base = nn.Linear(24, 24).double().requires_grad_(False)
    base.weight.copy_(torch.eye(24))
    layer = stirred(boft.Layer(base, "qkv", boft.Params()).double())
    rotation, _ = layer.merged()
    reached = (rotation != 0).sum(1)
    assert int(reached.min()) > boft.Params().block_size


def test_coft_only_looks_when_it_does_not_train() -> None:
    model = ours(coft, {"block_size": 8, "eps": 1e-3}).eval()
    before = {name: value.clone() for name, value in trainable(model).items()}
    logits = model(images())
    assert all(torch.equal(value, before[name]) for name, value in trainable(model).items())
    close(model.train()(images()), logits)


def test_boft_of_one_factor_agrees_with_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft.tuners.boft.layer.get_fbd_cuda", lambda: None)  # it would try to compile one
    mine = ours(boft, {"block_size": 4, "factors": 1})
    other = theirs(BOFTConfig(boft_block_size=4, target_modules=LINEARS), mine.head)
    with torch.no_grad():
        for name, layer in residual_layers(mine).items():
            peer = other.get_submodule(name)
            peer.boft_R["default"][0].copy_(skew(layer.entries[0], 4))
            peer.boft_s["default"].copy_(1 + layer.scale[:, None])
    same_outputs_and_gradients(mine, other)
    rows, columns = torch.triu_indices(4, 4, 1)
    for name, layer in residual_layers(mine).items():
        peer = other.get_submodule(name)
        whole = peer.boft_R["default"].grad[0]  # an entry and its mirror image are one of our parameters
        close(layer.entries.grad[0], (whole - whole.transpose(1, 2))[:, rows, columns])
        close(layer.scale.grad, peer.boft_s["default"].grad.squeeze(1))


def test_boft_of_several_factors_is_the_product_of_permuted_block_diagonals() -> None:
    """The permutations are peft's, whose own product needs its CUDA extension."""
    layer = residual_layers(ours(boft, {"block_size": 4, "factors": 3}, width=48))["blocks.0.mlp.fc2"]
    wide, product = layer.in_features, torch.eye(layer.in_features, dtype=torch.float64)
    for number, entries in enumerate(layer.entries):
        order = BOFTLayer.block_butterfly_perm(None, wide, wide // 4 // 2**number, 2, 2)
        permutation = BOFTLayer.perm2mat(None, order).double()
        factor = permutation @ torch.block_diag(*cayley(skew(entries, 4))) @ permutation.t()
        product = factor @ product
    close(product @ product.t(), torch.eye(wide, dtype=torch.float64))
    expected = (1 + layer.scale)[:, None] * (layer.weight @ product.t())
    close(layer.merged()[0], expected)
    x = torch.randn(2, 5, wide, dtype=torch.float64)
    close(layer(x), x @ expected.t() + layer.bias)


def test_boft_refuses_blocks_that_do_not_divide() -> None:
    with pytest.raises(RunError, match=r"method\.block_size: 16 · 2\^\(factors - 1\) = 32 does not divide the input"):
        ours(boft, {"block_size": 16})
    with pytest.raises(RunError, match=r"method\.block_size: 3 is odd"):
        ours(boft, {"block_size": 3, "factors": 2})


@pytest.mark.parametrize(
    ("method", "adapted"), [(vera, 2 * 2), (coft, 2 * 6), (boft, 2 * 6)], ids=lambda m: str(m)[:30]
)
def test_they_adapt_a_text_network_too(method: ModuleType, adapted: int) -> None:
    torch.manual_seed(1)
    config = transformers.RobertaConfig(
        vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, num_labels=3
    )
    model = transformers.RobertaForSequenceClassification(config).double().eval()
    tokens = torch.randint(2, 40, (3, 7))
    before = model.roberta(tokens).last_hidden_state
    method.adapt(model, method.Params(), torch.Generator().manual_seed(0))
    model = model.double()
    close(model.roberta(tokens).last_hidden_state, before, atol=1e-12)
    assert len(residual_layers(model)) == adapted
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype))
    apart = model(tokens).logits
    assert not torch.allclose(model.roberta(tokens).last_hidden_state, before)
    assert head_prefix(model) == "classifier."
    close(merge(model)(tokens).logits, apart)
