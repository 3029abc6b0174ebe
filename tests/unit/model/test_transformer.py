"""The transformer: attention as defined, causality, errors."""

import pytest
import torch
from tests.rounding import tolerance
from torch.nn import functional as F

from tempovla.model.layers.embedding import sinusoidal_embedding
from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.sequence import sequence_encoder
from tempovla.model.layers.transformer import SelfAttention, Transformer, attend


@pytest.mark.parametrize("causal", [False, True])
def test_the_bfloat16_formula_is_scaled_dot_product_attention(causal):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 7, 8).bfloat16() for _ in range(3)]
    expected = F.scaled_dot_product_attention(*(x.double() for x in inputs), is_causal=causal)
    ours = attend(*inputs, causal=causal)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), expected, atol=2e-2, rtol=2e-2)
    fused = F.scaled_dot_product_attention(*inputs, is_causal=causal).double()
    assert (ours.double() - expected).abs().max() < 2 * (fused - expected).abs().max() + tolerance(
        torch.bfloat16, roundings=4
    )


def test_the_bfloat16_formula_has_the_gradients_of_the_fused_one():
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 7, 8).bfloat16().requires_grad_() for _ in range(3)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    attend(*inputs, causal=True).float().square().sum().backward()
    F.scaled_dot_product_attention(*exact, is_causal=True).square().sum().backward()
    for ours, expected in zip(inputs, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), expected.grad, atol=5e-2, rtol=5e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_says_what_each_query_sees(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, length, 8).to(dtype) for length in (4, 7, 7))
    mask = torch.rand(2, 1, 4, 7) > 0.5
    mask[..., 0] = True
    ours = attend(query, key, value, mask=mask).double()
    scores = (query.double() @ key.double().transpose(-1, -2) / 8**0.5).masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(ours, scores.softmax(dim=-1) @ value.double(), atol=3e-2, rtol=3e-2)
    changed = torch.where(mask.any(dim=2)[..., None], value, 100 * value)
    assert torch.equal(attend(query, key, changed, mask=mask).double(), ours)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_causal_transformer_does_not_see_later_tokens(autocast):
    torch.manual_seed(0)
    model = Transformer(8, depth=2, num_heads=2, max_length=6, causal=True)
    x = torch.randn(2, 6, 8)
    other = x.clone()
    other[:, 4:] = torch.randn(2, 2, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        changed = (model(x) - model(other)).abs().amax(dim=(0, 2))
    assert changed[:4].max() == 0
    assert changed[4:].min() > 1e-4


def test_without_causality_every_token_sees_all():
    torch.manual_seed(0)
    model = Transformer(8, depth=1, num_heads=2, max_length=6)
    x = torch.randn(1, 6, 8)
    other = x.clone()
    other[:, 5] *= -1.0
    assert (model(x) - model(other)).abs().amax(dim=(0, 2)).min() > 1e-4


def test_positions_tell_equal_tokens_apart():
    torch.manual_seed(0)
    out = Transformer(8, depth=1, num_heads=2, max_length=4)(torch.ones(1, 4, 8))
    assert not torch.allclose(out[0, 0], out[0, 1])


def test_too_long_sequences_and_indivisible_heads_are_refused():
    with pytest.raises(ValueError, match="sequence of 5 tokens is longer than max_length=4"):
        Transformer(8, depth=1, num_heads=2, max_length=4)(torch.zeros(1, 5, 8))
    with pytest.raises(ValueError, match="dim=8 is not divisible by num_heads=3"):
        SelfAttention(8, 3)


@pytest.mark.parametrize(("kind", "causal"), [("mamba", True), ("transformer", False)])
def test_encoders_by_name_keep_the_shape_and_see_what_they_promise(kind, causal):
    torch.manual_seed(0)
    model = sequence_encoder(kind, dim=8, depth=2, max_length=5, num_heads=2, d_state=4, d_conv=3, expand=2)
    x = torch.randn(2, 5, 8)
    other = x.clone()
    other[:, -1] *= -1.0
    assert model(x).shape == x.shape
    changed = (model(x) - model(other)).abs().amax(dim=(0, 2))
    assert bool(changed[:-1].max() == 0) is causal
    assert changed[-1] > 0


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="encoder type 'gru' is unknown; choose mamba or transformer"):
        sequence_encoder("gru", dim=8, depth=1, max_length=5, num_heads=2, d_state=4, d_conv=3, expand=2)


def test_sinusoidal_features_are_sines_then_cosines_of_the_longest_and_shortest_period():
    value = torch.tensor([0.0, 1.0, 0.25])
    features = sinusoidal_embedding(value, 6, min_period=0.5, max_period=4.0)
    assert features.shape == (3, 6)
    torch.testing.assert_close(features[0], torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    torch.testing.assert_close(features[1, 2], torch.tensor(1.0))  # a quarter of the period 4: sin is 1
    torch.testing.assert_close(features[2, 3], torch.tensor(-1.0))  # half of the period 0.5: cos is -1
    with pytest.raises(ValueError, match="dim=5 cannot be half sines"):
        sinusoidal_embedding(value, 5)


def test_an_mlp_has_gelu_between_its_layers_and_none_at_the_end():
    kinds = [type(layer).__name__ for layer in mlp((4, 3, 2), norm_input=True)]
    assert kinds == ["LayerNorm", "Linear", "GELU", "Linear"]
    assert [layer.in_features for layer in mlp((4, 3, 2)) if hasattr(layer, "in_features")] == [4, 3]
