"""GLoRA's layers against its formula written out, its architectures against the paper's counts."""

import itertools
import random

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pace_core.adapters import merge
from pace_core.methods import glora
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, StepContext, pace
from pace_core.search import inherit
from pace_core.spec import RunError
from pace_core.training.optimizer import trainable
from tests.networks import images, tiny_vit

OUT, WIDE, RANK = 6, 4, 2
EVERY = list(itertools.product(*glora.CHOICES))


def layer(forms: tuple[str, ...] = glora.LARGEST) -> glora.Layer:
    """A layer with all parameters away from zero."""
    torch.manual_seed(0)
    made = glora.Layer(nn.Linear(WIDE, OUT), "layer", RANK, forms, torch.Generator().manual_seed(1)).double()
    made.weight.requires_grad_(False)
    made.bias.requires_grad_(False)
    with torch.no_grad():
        for parameter in trainable(made).values():
            parameter.normal_()
    return made


def supernet(**params: object) -> tuple[nn.Module, glora.Space]:
    model, given = tiny_vit(depth=3).double(), glora.Params(rank=3, **params)
    glora.adapt(model, given, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            if not name.startswith("head"):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return model.double().eval(), glora.space(model, given)


def by_hand(super_: glora.Layer, forms: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """W0 + W0 ⊙ A + B and b0 + b0 ⊙ D + E + W0 C, entry by entry of the formula."""

    def support(made: glora.Support, form: str, columns: int) -> Tensor:
        rows = made.rows
        match form:
            case "lora":
                return made.down @ made.up
            case "vector":
                return torch.stack([made.down[:, 0]] * columns, dim=1)
            case "scalar":
                return made.down[0, 0] * torch.ones(rows, columns, dtype=torch.float64)
        return torch.zeros(rows, columns, dtype=torch.float64)

    columns = (WIDE, WIDE, 1, 1, 1)
    a, b, c, d, e = (support(*pair) for pair in zip(super_.supports, forms, columns, strict=True))
    weight = super_.weight + super_.weight * a + b
    return weight, super_.bias + super_.bias * d[:, 0] + e[:, 0] + (super_.weight @ c)[:, 0]


def test_a_layer_has_432_forms() -> None:
    assert len(EVERY) == len(set(EVERY)) == 432


def test_every_form_of_a_layer_computes_the_formula() -> None:
    made, x = layer(), torch.randn(2, 5, WIDE, dtype=torch.float64)
    space = glora.Space({"layer": made}, 0.2)
    for forms in EVERY:
        space.configure({"layer": list(forms)})
        weight, bias = by_hand(made, forms)
        expected = nn.functional.linear(x, weight, bias)
        torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(made.base(x) + made.delta(x), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(made.plain_module()(x), expected, rtol=0, atol=1e-12)


def test_every_form_has_the_papers_number_of_parameters_and_trains_them_all() -> None:
    weight = {"lora": RANK * (OUT + WIDE), "vector": OUT, "scalar": 1, "none": 0}
    prompt = {"lora": RANK * (WIDE + 1), "vector": WIDE, "none": 0}
    bias = {"scalar": 1, "vector": OUT, "none": 0}
    space = glora.Space({"layer": layer()}, 0.2)
    for forms in EVERY:
        expected = sum(of[form] for of, form in zip((weight, weight, prompt, bias, bias), forms, strict=True))
        built = layer(forms)
        assert space.num_parameters({"layer": list(forms)}) == expected
        assert sum(p.numel() for p in trainable(built).values()) == expected
        output = built(torch.ones(1, 2, WIDE, dtype=torch.float64)).square().sum()
        if expected:
            output.backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trainable(built).values())


def test_an_architecture_with_the_supernets_weights_is_the_supernet_set_to_it() -> None:
    model, space = supernet()
    found = space.sample(random.Random(3))
    space.configure(found)
    alone = tiny_vit(depth=3).double()
    glora.adapt(alone, glora.Params(rank=3, architecture=found), torch.Generator().manual_seed(9))
    alone.double().eval()
    inherit(alone, model)
    torch.testing.assert_close(alone(images()), model(images()), rtol=0, atol=1e-12)
    torch.testing.assert_close(merge(alone)(images()), model(images()), rtol=0, atol=1e-10)
    assert not any(isinstance(module, glora.Layer) for module in alone.modules())


@pytest.mark.parametrize(("rank", "mean", "std"), [(2, 0.310, 0.029), (4, 0.500, 0.057), (8, 0.882, 0.117)])
def test_random_architectures_of_vit_b_16_are_as_large_as_the_authors(rank: int, mean: float, std: float) -> None:
    """In millions, over 400 draws."""
    params = glora.Params(rank=rank)
    with torch.device("meta"):
        model = VisionTransformer(num_classes=2)
        glora.adapt(model, params, torch.Generator())
    space, rng = glora.space(model, params), random.Random(0)
    sizes = torch.tensor([space.num_parameters(space.sample(rng)) / 1e6 for _ in range(400)])
    assert float(sizes.mean()) == pytest.approx(mean, abs=4 * std / 20)
    assert float(sizes.std()) == pytest.approx(std, rel=0.2)


def test_mutations_change_a_fifth_of_the_choices_and_children_have_parts_of_both() -> None:
    _, space = supernet(mutation_rate=0.2)
    rng = random.Random(0)
    ones, others = ({name: [form] * 5 for name in space.layers} for form in ("none", "vector"))
    child = space.crossed(ones, others, rng)
    choices = [form for forms in child.values() for form in forms]
    assert 0.3 < choices.count("none") / len(choices) < 0.7
    mutated = [space.mutated(ones, rng) for _ in range(50)]
    changed = [form != "none" for each in mutated for forms in each.values() for form in forms]
    fresh = 0.2 * (3 / 4 + 3 / 4 + 3 * 2 / 3) / 5  # a draw may fall on the form that was there
    assert sum(changed) / len(changed) == pytest.approx(fresh, rel=0.1)


def test_all_draws_of_a_step_share_its_architecture() -> None:
    """The two halves of PACE's step differ by their noise alone: without noise not at all."""
    model, space = supernet()
    batch = Batch(images(4), torch.arange(4), torch.arange(4))
    for sigma, differ in ((0.0, False), (1.0, True)):
        context = StepContext(model.train(), Pass(SeededSource(0)), None, lambda: torch.enable_grad(), 4, 5)
        regularizer = pace.Regularizer(pace.Params(sigma=sigma), context)
        space.configure(space.sample(random.Random(1)))
        assert (float(regularizer.step(batch, 0).terms["loss_consistency"]) > 1e-12) is differ


def test_an_architecture_of_another_network_is_refused() -> None:
    forms = dict.fromkeys([f"blocks.{i}.mlp.fc1" for i in range(3)], glora.LARGEST)
    with pytest.raises(RunError, match=r"method\.architecture: blocks\.0\.attn\.proj") as refused:
        glora.adapt(tiny_vit(depth=3).double(), glora.Params(architecture=forms), torch.Generator())
    assert refused.value.reason == "spec_invalid"
