"""Projectors: shapes, masks, and what stands for nothing."""

from __future__ import annotations

import pytest
import torch
from tests.rounding import tolerance

from tempovla.model.vlm.vision_projector import (
    PROJECTOR_REGISTRY,
    AttentionPoolingProjector,
    MLPProjector,
    PerceiverProjector,
    VisionProjector,
    build_projector,
)

OPTIONS: dict[str, dict[str, int]] = {
    "mlp": {},
    "attention_pooling": {"num_queries": 5, "num_heads": 4},
    "perceiver": {"num_latents": 5, "num_layers": 2, "num_heads": 4},
}
NAMES = list(PROJECTOR_REGISTRY)


def build(name: str, seed: int = 0) -> VisionProjector:
    torch.manual_seed(seed)
    return build_projector(name, 12, 32, OPTIONS[name])


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_guides_sizes():
    seen = tokens(2, 196, 768)
    assert MLPProjector(768, 64)(seen).shape == (2, 196, 64)
    assert AttentionPoolingProjector(768, 64)(seen).shape == (2, 64, 64)
    assert PerceiverProjector(768, 64)(seen).shape == (2, 64, 64)
    assert PerceiverProjector(768, 64, num_latents=32, num_layers=3)(seen).shape == (2, 32, 64)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 9, 16])
def test_any_number_of_tokens_goes_in_and_as_many_come_out_as_it_says(name, length):
    projector = build(name)
    assert projector(tokens(3, length, 12)).shape == (3, projector.num_output_tokens(length), 32)
    assert projector.output_mask(torch.ones(3, length, dtype=torch.bool)).shape == (
        3,
        projector.num_output_tokens(length),
    )


@pytest.mark.parametrize("name", NAMES)
def test_invalid_tokens_change_neither_outputs_nor_gradients(name):
    projector = build(name)
    mask = torch.tensor([[True, True, False, True], [False, False, True, False], [False] * 4])
    found = []
    for junk in (0.0, 7.0, torch.nan):
        seen = torch.where(mask[..., None], tokens(3, 4, 12), junk).requires_grad_()
        projector.zero_grad()
        projected = projector(seen, mask)
        projected.square().sum().backward()
        assert seen.grad is not None
        found.append([projected.detach(), seen.grad, *(weight.grad.clone() for weight in projector.parameters())])
    assert all(value.isfinite().all() for value in found[0])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_is_as_good_as_leaving_the_tokens_out(name):
    projector = build(name)
    seen, mask = tokens(2, 6, 12), torch.tensor([[True, False, True, True, False, True]]).expand(2, -1)
    valid = projector.output_mask(mask)
    assert valid.sum() == 2 * projector.num_output_tokens(4)
    masked = projector(seen, mask)[valid].unflatten(0, (2, -1))
    torch.testing.assert_close(masked, projector(seen[:, mask[0]]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_where_there_is_nothing_to_see_comes_the_learned_null(name):
    projector = build(name)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    one, other = projector(tokens(2, 4, 12), nothing), projector(100 * tokens(2, 4, 12), nothing)
    torch.testing.assert_close(one, other, rtol=tolerance(), atol=tolerance())
    torch.testing.assert_close(one[0], one[1], rtol=tolerance(), atol=tolerance())
    if name == "mlp":
        assert torch.equal(one[0, 0], projector.null)
    one.square().sum().backward()
    assert projector.null.grad is not None
    assert projector.null.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_all_weights_learn_even_without_a_mask(name):
    """Several processes would wait for those that do not take part."""
    projector = build(name)
    projector(tokens(2, 4, 12)).square().sum().backward()
    assert all(weight.grad is not None for weight in projector.parameters())
    zero = {key for key, weight in projector.named_parameters() if not weight.grad.abs().sum()}
    assert zero == {"null"}


def test_pooling_does_not_depend_on_the_order_of_tokens_but_the_mlp_does():
    for name in NAMES:
        seen, projector = tokens(1, 6, 12), build(name)
        same = torch.allclose(projector(seen), projector(seen.flip(1)), atol=1e-5)
        assert same == (name != "mlp")


@pytest.mark.parametrize("name", NAMES)
def test_queries_differ_from_each_other(name):
    projected = build(name)(tokens(1, 6, 12))[0]
    assert torch.pdist(projected).min() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_on_a_cpu_is_close(name):
    projector, seen = build(name), tokens(2, 6, 12)
    mask = torch.tensor([[True] * 6, [True, False] * 3])
    expected = projector(seen, mask)
    with torch.autocast("cpu", torch.bfloat16):
        got = projector(seen, mask).float()
    assert (got - expected).norm() < tolerance(torch.bfloat16, roundings=10) * expected.norm()


def test_wrong_names_options_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"projector 'percever' is unknown; did you mean 'perceiver'\?"):
        build_projector("percever", 12, 32, {})
    with pytest.raises(ValueError, match=r"projector 'xyz' is unknown; choose from \['mlp', 'attention_pooling'"):
        build_projector("xyz", 12, 32, {})
    with pytest.raises(
        ValueError, match=r"projector 'perceiver' has no option 'num_latent'; did you mean 'num_latents'"
    ):
        build_projector("perceiver", 12, 32, {"num_latent": 3})
    with pytest.raises(ValueError, match=r"dim=32 is not divisible by num_heads=5; choose heads that divide it"):
        build_projector("attention_pooling", 12, 32, {"num_heads": 5})
    with pytest.raises(
        ValueError, match=r"vision tokens \(1, 2, 9\) do not fit a projector of vision_dim=12; build it with"
    ):
        build("mlp")(tokens(1, 2, 9))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_projector_for_another_language_model_are_refused_in_one_line(name):
    other = build_projector(name, 12, 64, OPTIONS[name])
    with pytest.raises(
        ValueError, match=r"between a vision model of 12 and a language model of 32; give the models"
    ) as error:
        build(name).load_state_dict(other.state_dict())
    assert "\n" not in str(error.value)
    build(name).load_state_dict(build(name, 1).state_dict())
