"""What networks for text have of their own: q and v as layers, masks, a classifier of two layers."""

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from pace_core import methods
from pace_core.network.parts import block_of, head_name, network_family
from pace_core.network.residual import NoisedHead, residual_layers, residuals
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers._adapter_noise import attach_noise, sigma_by_layer
from pace_core.regularizers.pace import Params as Pace
from pace_core.spec import RunError
from pace_core.training.optimizer import trainable
from tests.networks import stirred

METHODS = methods.entries()
ADAPTING = [name for name, m in METHODS.items() if "text" in m.fits and "delta" in m.gives]
SIZES = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "max_position_embeddings": 12,
    "num_labels": 5,
}
KINDS = {
    "roberta": (RobertaForSequenceClassification, RobertaConfig),
    "bert": (BertForSequenceClassification, BertConfig),
}
BATCH = 4


def network(kind: str, method: str, dropout: float = 0.0, **params: object) -> nn.Module:
    """Adapted, in float64, its trained parameters away from their start."""
    torch.manual_seed(1)
    build, config = KINDS[kind]
    model = build(config(**SIZES, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout))
    module = METHODS[method]
    known = {"rank": 3, "dropout": 0.0, **params}
    asked = {key: value for key, value in known.items() if key in module.params.model_fields}
    module.adapt(model, module.params(**asked), torch.Generator().manual_seed(0))
    return stirred(model).double()


def sentences() -> dict[str, Tensor]:
    """Of different lengths, padded."""
    tokens = torch.randint(2, 40, (BATCH, 7), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(7) < torch.tensor([7, 5, 3, 6])[:, None]).long()
    return {"input_ids": tokens.where(mask.bool(), 1), "attention_mask": mask}


def noised(model: nn.Module, sigma: float = 1.2) -> Pass:
    current = Pass(SeededSource(7))
    attach_noise(model, current, Pace(sigma=sigma))
    return current


@pytest.mark.parametrize("kind", KINDS)
def test_q_and_v_are_adapted_as_layers_of_their_own(kind: str) -> None:
    layers = residual_layers(network(kind, "lora_add", targets="q,v", bias=False))
    expected = [f"{kind}.encoder.layer.{n}.attention.self.{part}" for n in range(3) for part in ("query", "value")]
    assert list(layers) == expected
    assert all(len(layer.low_rank.A) == 1 and layer.low_rank.A[0].shape == (3, 24) for layer in layers.values())


@pytest.mark.parametrize(("kind", "head", "layers"), [("roberta", "classifier.out_proj", 2), ("bert", "classifier", 1)])
def test_the_whole_classifier_begins_anew_and_is_trained(kind: str, head: str, layers: int) -> None:
    build, config = KINDS[kind]
    first, again = (build(config(**SIZES)) for _ in range(2))
    for model in (first, again):
        METHODS["linear"].adapt(model, METHODS["linear"].params(), torch.Generator().manual_seed(0))
    assert network_family(first) == "text"
    assert head_name(first) == head
    assert isinstance(first.get_submodule(head), NoisedHead)
    assert len(trainable(first)) == 2 * layers
    for name, parameter in trainable(first).items():
        assert name.startswith("classifier.")
        assert torch.equal(parameter, trainable(again)[name]), "the seed alone says how it begins"


def test_noise_falls_over_the_blocks_as_in_a_vit() -> None:
    model = network("bert", "bitfit")
    sigmas = sigma_by_layer(model, 1.2)
    by_block = {block_of(name): sigma for name, sigma in sigmas.items() if block_of(name)}
    assert by_block == pytest.approx(dict(zip(by_block, [0, 1.2, 0.8], strict=True)))
    assert sigmas["bert.embeddings.LayerNorm"] == 0
    assert sigmas["bert.pooler.dense"] == sigmas["classifier"] == pytest.approx(0.4)


@pytest.mark.parametrize("method", ADAPTING)
@pytest.mark.parametrize("kind", KINDS)
def test_two_draws_are_the_network_run_twice_with_its_changes_multiplied(kind: str, method: str) -> None:
    """The prefix that the draws share runs once and masks follow the draws; a copy that does neither agrees."""
    model = network(kind, method).eval()
    sigmas, plain, inputs = sigma_by_layer(model, 1.2), copy.deepcopy(model), sentences()
    current = noised(model)
    with torch.no_grad(), current.noised(3, BATCH, 2, slice(0, BATCH)):
        ours = model(**inputs).logits
    source = SeededSource(7)

    def multiplied(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        whole = isinstance(layer, NoisedHead)
        base, delta = (torch.zeros_like(output), output) if whole else (layer.base(*args), layer.delta(*args))
        eps = source.normal(3, layer.name, (2 * BATCH, output.shape[-1]), output)
        return base + (1 + sigmas[layer.name] * (eps if output.dim() == 2 else eps[:, None])) * delta

    for layer in [*residuals(plain).values(), plain.get_submodule(head_name(plain))]:
        layer.register_forward_hook(multiplied)
    with torch.no_grad():
        twice = plain(**{key: value.repeat(2, 1) for key, value in inputs.items()}).logits
    assert not torch.allclose(twice[:BATCH], twice[BATCH:])
    torch.testing.assert_close(ours, twice, rtol=0, atol=1e-10)


def test_a_part_of_a_batch_gets_the_noise_of_its_rows() -> None:
    model, inputs = network("roberta", "lora_add").eval(), sentences()
    current = noised(model)
    with torch.no_grad():
        with current.noised(0, BATCH, 2, slice(0, BATCH)):
            whole = model(**inputs).logits.view(2, BATCH, -1)
        with current.noised(0, BATCH, 2, slice(1, 3)):
            part = model(**{key: value[1:3] for key, value in inputs.items()}).logits.view(2, 2, -1)
    torch.testing.assert_close(part, whole[:, 1:3], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_networks_own_dropout_is_the_same_in_all_draws(kind: str) -> None:
    model = network(kind, "lora_add", dropout=0.5).train()
    current = noised(model, sigma=0.0)
    with torch.no_grad(), current.noised(0, BATCH, 2, slice(0, BATCH)):
        first, second = model(**sentences()).logits.chunk(2)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)
    assert not torch.allclose(first, model.eval()(**sentences()).logits), "nothing was dropped"


def test_a_network_of_no_known_family_is_refused() -> None:
    with pytest.raises(RunError, match=r"backbone: Sequential has no blocks of a known kind; use a ViT"):
        network_family(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(RunError, match=r"backbone: Sequential has no classifier"):
        head_name(nn.Sequential(nn.Linear(2, 2)))
