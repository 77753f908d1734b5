"""Every method in the folder keeps what a method promises; a new file there is held to it by existing."""

from typing import Any

import pytest
import timm
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaForSequenceClassification

from pace_core import methods
from pace_core.adapters import load_trained, merge
from pace_core.methods import Method
from pace_core.network.parts import block_linears, head_name
from pace_core.network.pretrained import pretrained_weights
from pace_core.network.residual import Noised, Residual, merged_weights, residual_layers, residuals
from pace_core.training.optimizer import trainable
from tests.networks import images, stirred, tiny_roberta, tiny_swin, tiny_vit

METHODS = methods.entries()
RESIDUAL = [name for name, method in METHODS.items() if "delta" in method.gives]
TARGETED = [name for name in RESIDUAL if "targets" in METHODS[name].params.model_fields]
COUNTS, TEXT_COUNTS = (
    [
        pytest.param(method, params, count, id=f"{name}-{params}")
        for name, method in METHODS.items()
        for params, count in getattr(method, counts)
    ]
    for counts in ("published_counts", "text_counts")
)


NETWORKS = {"vit": tiny_vit, "swin": tiny_swin, "text": tiny_roberta}


def on_every_network(names: list[str]) -> pytest.MarkDecorator:
    """Each of these methods on each kind of network that it says it fits."""
    pairs = [(name, kind) for name in names for kind in NETWORKS if kind in METHODS[name].fits]
    return pytest.mark.parametrize(("name", "kind"), pairs)


def network(kind: str) -> tuple[nn.Module, Tensor]:
    """A pretrained network, and images or tokens that go into it."""
    tokens = torch.randint(2, 40, (3, 7), generator=torch.Generator().manual_seed(2))
    inputs = {"vit": images(), "swin": images(size=32), "text": tokens}[kind]
    return NETWORKS[kind]().double().eval(), inputs


def features(model: nn.Module, inputs: Tensor) -> Tensor:
    """What the classifier reads."""
    if isinstance(model, RobertaForSequenceClassification):
        return model.base_model(inputs).last_hidden_state
    return model.forward_features(inputs)


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    outputs = model(inputs)
    return outputs.logits if isinstance(model, RobertaForSequenceClassification) else outputs


def adapted(model: nn.Module, method: Method[Any], **params: object) -> nn.Module:
    asked = {"rank": 3, **params} if "rank" in method.params.model_fields else params
    method.adapt(model, method.params(**asked), torch.Generator().manual_seed(0))
    return model.double()


@pytest.mark.parametrize(("method", "params", "count"), COUNTS)
def test_the_built_vit_b_16_trains_as_many_parameters_as_published(
    method: Method[Any], params: dict[str, object], count: int
) -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=100)
        method.adapt(model, method.params(**params), torch.Generator())
    head = head_name(model)
    assert sum(p.numel() for name, p in trainable(model).items() if not name.startswith(head)) == count
    assert sum(p.numel() for name, p in trainable(model).items() if name.startswith(head)) == 769 * 100


@pytest.mark.parametrize(("method", "params", "count"), TEXT_COUNTS)
def test_the_built_roberta_base_trains_as_many_parameters_as_published(
    method: Method[Any], params: dict[str, object], count: int
) -> None:
    with torch.device("meta"):
        config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, num_labels=2)
        model = RobertaForSequenceClassification(config)
        method.adapt(model, method.params(**params), torch.Generator())
    sizes = {name: p.numel() for name, p in trainable(model).items()}
    assert sum(size for name, size in sizes.items() if not name.startswith("classifier.")) == count
    assert sum(size for name, size in sizes.items() if name.startswith("classifier.")) == 590_592 + 769 * 2


@on_every_network([name for name, method in METHODS.items() if method.starts_pretrained])
def test_before_training_the_features_are_the_pretrained_ones(name: str, kind: str) -> None:
    model, inputs = network(kind)
    before = features(model, inputs)
    after = features(adapted(model, METHODS[name]), inputs)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


@on_every_network([name for name in METHODS if name != "full"])
def test_switched_off_the_features_are_the_pretrained_ones_at_any_time(name: str, kind: str) -> None:
    model, inputs = network(kind)
    before = features(model, inputs)
    model = stirred(adapted(model, METHODS[name])).eval()
    if name != "linear":
        assert not torch.allclose(features(model, inputs), before)
    with pretrained_weights(model):
        torch.testing.assert_close(features(model, inputs), before, rtol=0, atol=1e-12)


@on_every_network([name for name in METHODS if "merged" in METHODS[name].gives])
def test_merged_weights_compute_the_same(name: str, kind: str) -> None:
    model, inputs = network(kind)
    model = stirred(adapted(model, METHODS[name])).eval()
    apart = logits(model, inputs)
    with torch.no_grad(), merged_weights(model):
        torch.testing.assert_close(logits(model, inputs), apart, rtol=0, atol=1e-10)
    merged = merge(model)
    assert not any(isinstance(module, Noised) for module in merged.modules()), "something adapted is left"
    torch.testing.assert_close(logits(merged, inputs), apart, rtol=0, atol=1e-10)


@on_every_network(list(METHODS))
def test_what_does_not_merge_still_computes_the_same_afterwards(name: str, kind: str) -> None:
    model, inputs = network(kind)
    model = stirred(adapted(model, METHODS[name])).eval()
    before = logits(model, inputs)
    torch.testing.assert_close(logits(merge(model), inputs), before, rtol=0, atol=1e-10)


@on_every_network(list(METHODS))
def test_what_was_trained_loads_onto_a_fresh_backbone(name: str, kind: str) -> None:
    model, inputs = network(kind)
    model = stirred(adapted(model, METHODS[name])).eval()
    saved = {key: value.detach().clone() for key, value in trainable(model).items()}
    fresh = adapted(network(kind)[0], METHODS[name]).eval()
    load_trained(fresh, saved, origin="the file")
    torch.testing.assert_close(logits(fresh, inputs), logits(model, inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("targets", ["all", "qkv", "q,v"])
@pytest.mark.parametrize("name", TARGETED)
def test_base_plus_delta_is_the_layer_whatever_the_targets(name: str, targets: str) -> None:
    _base_plus_delta_is_the_layer(stirred(adapted(tiny_vit().double(), METHODS[name], targets=targets)).eval())


@on_every_network(RESIDUAL)
def test_base_plus_delta_is_the_layer(name: str, kind: str) -> None:
    _base_plus_delta_is_the_layer(stirred(adapted(network(kind)[0], METHODS[name])).eval(), kind)


def _base_plus_delta_is_the_layer(model: nn.Module, kind: str = "vit") -> None:
    seen: list[str] = []

    def compare(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, Residual)
        torch.testing.assert_close(layer.base(*args) + layer.delta(*args), output, rtol=0, atol=1e-10)
        seen.append(layer.name)

    for layer in residuals(model).values():
        layer.register_forward_hook(compare)
    logits(model, network(kind)[1])
    assert set(seen) == set(residuals(model))
    assert seen


@on_every_network(list(METHODS))
def test_only_what_should_move_moves(name: str, kind: str) -> None:
    model, inputs = network(kind)
    model = stirred(adapted(model, METHODS[name])).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.1)
    nn.functional.cross_entropy(logits(model, inputs), torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    after = model.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved <= trainable(model).keys()
    # a key's bias moves no logit, so a method may leave a few entries where they are, but no whole kind of parameter
    assert {key.rpartition(".")[2] for key in trainable(model)} == {key.rpartition(".")[2] for key in moved}


@on_every_network(list(METHODS))
def test_under_bfloat16_autocast_the_logits_are_nearly_the_same_and_gradients_are_float32(name: str, kind: str) -> None:
    model, inputs = network(kind)
    model = stirred(adapted(model, METHODS[name])).float().eval()
    inputs = inputs if kind == "text" else inputs.float()
    exact = logits(model, inputs).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = logits(model, inputs).float()
    assert 0 < float((rounded.detach() - exact).norm() / exact.norm()) < 0.05
    rounded.square().sum().backward()
    for key, parameter in trainable(model).items():
        assert parameter.grad is not None, key
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("targets", ["all", "qkv", "q,v"])
@on_every_network(TARGETED)
def test_targets_say_which_layers_are_adapted(name: str, kind: str, targets: str) -> None:
    model = adapted(network(kind)[0], METHODS[name], targets=targets)
    meant = {
        "all": "",
        "qkv": ("attn.qkv", "self.query", "self.key", "self.value"),
        "q,v": ("attn.qkv", "self.query", "self.value"),
    }
    expected = [layer for layer in block_linears(model) if layer.endswith(meant[targets])]
    assert list(residual_layers(model)) == expected


def test_q_and_v_alone_leave_the_keys_as_they_were() -> None:
    model = stirred(adapted(tiny_vit().double(), METHODS["lora_add"], targets="q,v", bias=False))
    for layer in residual_layers(model).values():
        query, key, value = layer.delta_weight().chunk(3)
        assert key.abs().max() == 0
        assert query.abs().max() > 0
        assert value.abs().max() > 0


def test_lora_agrees_with_peft() -> None:
    """Outputs and gradients of our LoRA equal those of the independent implementation, with the same A and B."""
    ours = adapted(tiny_vit().double(), METHODS["lora_add"], targets="qkv", bias=False, rank=4, alpha=6.0).eval()
    config = LoraConfig(r=4, lora_alpha=6, target_modules=r"blocks\.\d+\.attn\.qkv", lora_dropout=0.0, bias="none")
    theirs = inject_adapter_in_model(config, tiny_vit().double()).eval()
    stirred(ours)
    with torch.no_grad():
        theirs.head.load_state_dict({k: v for k, v in ours.head.state_dict().items()})
        for name, layer in residual_layers(ours).items():
            peer = theirs.get_submodule(name)
            peer.lora_A["default"].weight.copy_(layer.low_rank.A[0])
            peer.lora_B["default"].weight.copy_(layer.low_rank.B[0])
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-10)
    for model in (ours, theirs):
        model(images).square().sum().backward()
    for name, layer in residual_layers(ours).items():
        peer = theirs.get_submodule(name)
        torch.testing.assert_close(layer.low_rank.A[0].grad, peer.lora_A["default"].weight.grad, rtol=0, atol=1e-10)
        torch.testing.assert_close(layer.low_rank.B[0].grad, peer.lora_B["default"].weight.grad, rtol=0, atol=1e-10)


def test_a_seed_fixes_what_is_drawn_at_the_start() -> None:
    first, again = (adapted(tiny_vit(), METHODS["lora_mul_vpt_add"]) for _ in range(2))
    for name, parameter in trainable(first).items():
        assert torch.equal(parameter, trainable(again)[name])


@on_every_network([name for name in RESIDUAL if "dropout" in METHODS[name].params.model_fields])
def test_the_adapters_dropout_leaves_the_pretrained_part_alone(name: str, kind: str) -> None:
    model, inputs = network(kind)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the network's own draws anew in every pass
    model = adapted(model, METHODS[name], dropout=0.5).train()
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.zero_()

    def compare(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, Residual)
        torch.testing.assert_close(output, layer.base(*args), rtol=0, atol=1e-12)

    for layer in residuals(model).values():
        layer.register_forward_hook(compare)
    logits(model, inputs)
