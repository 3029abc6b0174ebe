import pytest
import torch
import transformers
from torch.nn import functional as F

from tempovla.model.layers.mamba import Mamba
from tempovla.model.layers.ssd import CHUNK_LENGTH, Mamba2Config, Mamba2Mixer, segment_sum, ssd


def make_inputs(batch, length, heads=3, head_dim=4, d_state=5, dtype=torch.float64):
    torch.manual_seed(0)
    tensors = (
        torch.randn(batch, length, heads, head_dim, dtype=dtype),
        F.softplus(torch.randn(batch, length, heads, dtype=dtype) - 2),
        -torch.exp(torch.randn(heads, dtype=dtype)),
        torch.randn(batch, length, d_state, dtype=dtype),
        torch.randn(batch, length, d_state, dtype=dtype),
        torch.randn(batch, heads, d_state, head_dim, dtype=dtype),
    )
    return [x.requires_grad_() for x in tensors]


def ssd_by_definition(x, dt, A, B, C, state):
    """The recurrence, one step after the other."""
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[:, :, None, None]
        state = decay * state + torch.einsum("bn,bh,bhp->bhnp", B[:, t], dt[:, t], x[:, t])
        outputs.append(torch.einsum("bn,bhnp->bhp", C[:, t], state))
    return torch.stack(outputs, dim=1), state


@pytest.mark.parametrize("length", [1, 7, CHUNK_LENGTH, CHUNK_LENGTH + 1, 2 * CHUNK_LENGTH + 5])
def test_values_and_gradients_are_those_of_the_recurrence_at_any_length(length):
    inputs = make_inputs(2, length)
    results, expected = ssd(*inputs), ssd_by_definition(*inputs)
    torch.testing.assert_close(results, expected, rtol=1e-10, atol=1e-12)
    weights = [torch.randn_like(x) for x in results]
    gradients = torch.autograd.grad(results, inputs, weights)
    gradients_expected = torch.autograd.grad(expected, inputs, weights)
    torch.testing.assert_close(gradients, gradients_expected, rtol=1e-9, atol=1e-11)


def test_without_initial_state_it_starts_from_zeros():
    *inputs, state = make_inputs(2, 10)
    torch.testing.assert_close(ssd(*inputs), ssd(*inputs, torch.zeros_like(state)))


def test_no_steps_give_no_outputs_and_leave_the_state():
    inputs = make_inputs(2, 0)
    y, final = ssd(*inputs)
    assert y.shape == (2, 0, 3, 4)
    torch.testing.assert_close(final, inputs[-1])


def test_float32_stays_within_rounding_of_float64():
    inputs = make_inputs(2, 395, dtype=torch.float32)
    exact = ssd(*(x.double() for x in inputs))
    for actual, expected in zip(ssd(*inputs), exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).norm() < 1e-6 * expected.norm()


def test_strong_decay_stays_finite_with_its_gradients():
    inputs = make_inputs(1, 200, dtype=torch.float32)
    with torch.no_grad():
        inputs[1].mul_(1000)
        inputs[2].mul_(100)
    y, final = ssd(*inputs)
    gradients = torch.autograd.grad(y.sum() + final.sum(), inputs)
    assert all(x.isfinite().all() for x in (y, final, *gradients))


def test_autocast_does_not_lower_the_precision():
    inputs = make_inputs(2, 30, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = ssd(*inputs)
    torch.testing.assert_close(actual, ssd(*inputs), rtol=0, atol=0)


def test_segment_sums_cover_what_lies_between():
    inf = torch.inf
    expected = torch.tensor([[0.0, -inf, -inf], [2.0, 0.0, -inf], [5.0, 3.0, 0.0]])
    torch.testing.assert_close(segment_sum(torch.tensor([1.0, 2.0, 3.0])), expected)


def test_segment_sums_of_decays_are_never_positive():
    terms = -torch.rand(4, 300) * torch.logspace(-6, 6, 4)[:, None]
    assert (segment_sum(terms) <= 0).all()


@pytest.mark.parametrize(("use_bias", "use_conv_bias"), [(False, True), (True, False)])
def test_transformers_weights_load_by_name_and_give_the_same_outputs(use_bias, use_conv_bias):
    torch.manual_seed(0)
    config = Mamba2Config(d_model=16, depth=2, d_state=4, head_dim=8, use_bias=use_bias, use_conv_bias=use_conv_bias)
    reference = transformers.Mamba2Model(
        transformers.Mamba2Config(
            vocab_size=11,
            hidden_size=16,
            num_hidden_layers=2,
            state_size=4,
            num_heads=4,
            head_dim=8,
            n_groups=1,
            chunk_size=16,
            use_bias=use_bias,
            use_conv_bias=use_conv_bias,
        )
    ).eval()
    with torch.no_grad():
        for parameter in reference.parameters():  # so that no parameter hides behind a zero or a one
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = Mamba(config)
    weights = {name: value for name, value in reference.state_dict().items() if name != "embeddings.weight"}
    model.load_state_dict(weights, strict=True)
    x = torch.randn(2, 75, 16)
    expected = reference(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_step_sizes_and_rates_start_in_their_ranges():
    mixer = Mamba2Mixer(Mamba2Config(d_model=512, head_dim=1, dt_min=0.002, dt_max=0.05))
    steps, rates = F.softplus(mixer.dt_bias), mixer.A_log.exp()
    assert 0.002 * 0.999 <= steps.min() < 0.0021
    assert 0.048 < steps.max() <= 0.05 * 1.001
    assert 1 <= rates.min() < 1.1
    assert 15.9 < rates.max() <= 16.001


def test_heads_that_do_not_fill_the_width_are_refused():
    with pytest.raises(ValueError, match="head_dim=24 must divide expand \\* d_model = 32"):
        Mamba2Config(d_model=16, head_dim=24)


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="head_dim=0 must be at least 1"):
        Mamba2Config(head_dim=0)
