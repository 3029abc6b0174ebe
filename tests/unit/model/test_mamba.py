import pytest
import torch
import transformers
from torch.nn import functional as F

from tempovla.model.layers.mamba import Mamba, MambaConfig, MambaMixer
from tempovla.model.layers.ssd import Mamba2Config

SMALL = MambaConfig(d_model=16, depth=3, d_state=4)
SMALL_2 = Mamba2Config(d_model=16, depth=3, d_state=4, head_dim=8)
both_kinds = pytest.mark.parametrize("config", [SMALL, SMALL_2], ids=["mamba-1", "mamba-2"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def assert_states_equal(actual, expected, **tolerance):
    for a, b in zip(actual.blocks, expected.blocks, strict=True):
        torch.testing.assert_close((a.conv, a.ssm), (b.conv, b.ssm), **tolerance)


def transformers_model(config):
    reference = transformers.MambaModel(
        transformers.MambaConfig(
            vocab_size=11,
            hidden_size=config.d_model,
            num_hidden_layers=config.depth,
            state_size=config.d_state,
            conv_kernel=config.d_conv,
            expand=config.expand,
            time_step_rank=config.rank,
            use_bias=config.use_bias,
            use_conv_bias=config.use_conv_bias,
            layer_norm_epsilon=config.norm_eps,
        )
    )
    with torch.no_grad():
        for parameter in reference.parameters():  # so that no parameter hides behind a zero or a one
            parameter.add_(0.1 * torch.randn_like(parameter))
    return reference.eval()


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        MambaConfig(d_model=16, depth=2, d_state=4, use_bias=True, use_conv_bias=False, norm_eps=1e-3),
        MambaConfig(d_model=24, depth=1, d_state=3, d_conv=3, expand=3, dt_rank=5),
    ],
)
def test_transformers_weights_load_by_name_and_give_the_same_outputs(config):
    reference = transformers_model(config)
    model = Mamba(config)
    weights = {name: value for name, value in reference.state_dict().items() if name != "embeddings.weight"}
    model.load_state_dict(weights, strict=True)
    x = torch.randn(2, 37, config.d_model)
    expected = reference(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_transformers():
    reference = transformers_model(SMALL).train()
    model = Mamba(SMALL)
    model.load_state_dict({k: v for k, v in reference.state_dict().items() if k != "embeddings.weight"})
    x = torch.randn(2, 20, SMALL.d_model)
    model(x)[0].square().sum().backward()
    reference(inputs_embeds=x).last_hidden_state.square().sum().backward()
    expected = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        error = (parameter.grad - expected[name].grad).norm() / expected[name].grad.norm()
        assert error < 1e-5, name


@both_kinds
def test_streaming_equals_batch(config):
    model = Mamba(config)
    x = torch.randn(3, 40, config.d_model)
    y, final = model(x)
    state = model.initial_state(3)
    for t in range(x.shape[1]):
        y_step, state = model.step(x[:, t], state)
        torch.testing.assert_close(y_step, y[:, t], rtol=1e-5, atol=1e-5)
    assert_states_equal(state, final, rtol=1e-5, atol=1e-5)


@both_kinds
@pytest.mark.parametrize("border", [0, 1, 2, 20, 40])
def test_a_sequence_in_two_parts_equals_the_whole(config, border):
    model = Mamba(config)
    x = torch.randn(2, 40, config.d_model)
    y, final = model(x)
    first, state = model(x[:, :border])
    second, state = model(x[:, border:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), y, rtol=1e-5, atol=1e-5)
    assert_states_equal(state, final, rtol=1e-5, atol=1e-5)


@both_kinds
def test_the_future_changes_no_output(config):
    model = Mamba(config)
    x = torch.randn(2, 20, config.d_model)
    changed = x.clone()
    changed[:, 12:] += 1
    torch.testing.assert_close(model(changed)[0][:, :12], model(x)[0][:, :12], rtol=0, atol=0)


@both_kinds
def test_reset_rows_behave_as_new_and_their_neighbours_do_not_notice(config):
    model = Mamba(config)
    x, following = torch.randn(3, 10, config.d_model), torch.randn(3, 5, config.d_model)
    _, state = model(x)
    rows = torch.tensor([False, True, False])
    y, _ = model(following, state.reset(rows))
    torch.testing.assert_close(y[1:2], model(following[1:2])[0])
    torch.testing.assert_close(y[::2], model(following, state)[0][::2])


VALID_PATTERNS = {
    "right": [1, 1, 1, 1, 1, 0, 0, 0],
    "left": [0, 0, 0, 1, 1, 1, 1, 1],
    "both and a gap": [0, 1, 1, 0, 0, 1, 1, 0],
    "short": [0, 0, 0, 0, 0, 1, 0, 0],
    "none": [0] * 8,
    "all": [1] * 8,
}


@both_kinds
@pytest.mark.parametrize("fresh", [True, False])
def test_invalid_steps_are_as_if_they_were_not_there(config, fresh):
    model = Mamba(config)
    valid = torch.tensor(list(VALID_PATTERNS.values()), dtype=torch.bool)
    x = torch.randn(*valid.shape, config.d_model)
    state = None if fresh else model(torch.randn(len(x), 5, config.d_model))[1]
    y, final = model(x.masked_fill(~valid[..., None], torch.nan), state, valid)
    assert (y[~valid] == 0).all()
    for row, name in enumerate(VALID_PATTERNS):
        rest = torch.arange(len(x)) != row  # rows taken alone come from resetting nothing but cutting the batch
        alone = None if fresh else _row(state, rest)
        y_alone, final_alone = model(x[row : row + 1, valid[row]], alone)
        torch.testing.assert_close(y[row : row + 1, valid[row]], y_alone, rtol=1e-5, atol=1e-6, msg=name)
        assert_states_equal(_row(final, rest), final_alone, rtol=1e-5, atol=1e-6)


def _row(state, rest):
    blocks = tuple(type(b)(b.conv[~rest], b.ssm[~rest]) for b in state.blocks)
    return type(state)(blocks)


@both_kinds
def test_invalid_steps_receive_no_gradient(config):
    model = Mamba(config)
    valid = torch.tensor([[0, 1, 1, 0, 1, 0]], dtype=torch.bool)
    x = torch.randn(1, 6, config.d_model, requires_grad=True)
    y, state = model(x, valid=valid)
    (y.sum() + state.blocks[-1].ssm.sum()).backward()
    assert (x.grad[~valid] == 0).all()
    assert (x.grad[valid] != 0).any(dim=-1).all()


@both_kinds
def test_autocast_keeps_state_in_float32_and_stays_near_full_precision(config):
    model = Mamba(config)
    x = torch.randn(2, 30, config.d_model)
    y_full, _ = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, final = model(x)
        _, stepped = model.step(x[:, 0], final)
    for state in (final, stepped):
        assert all(x.dtype == torch.float32 for block in state.blocks for x in (block.conv, block.ssm))
    assert (y - y_full).norm() < 0.02 * y_full.norm()
    y.square().mean().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


def test_step_sizes_start_log_uniform_and_rates_at_the_integers():
    mixer = MambaMixer(MambaConfig(d_model=512, d_state=5, dt_min=0.002, dt_max=0.05))
    steps = F.softplus(mixer.dt_proj.bias)
    assert 0.002 * 0.999 <= steps.min() < 0.0021
    assert 0.048 < steps.max() <= 0.05 * 1.001
    assert abs(steps.log().mean() - (torch.tensor([0.002, 0.05]).log().mean())) < 0.1
    torch.testing.assert_close(mixer.A_log[3].exp(), torch.arange(1.0, 6.0))
    assert (mixer.D == 1).all()


def test_the_dt_rank_is_a_sixteenth_of_the_width_unless_said():
    assert MambaConfig(d_model=250).rank == 16
    assert MambaConfig(d_model=250, dt_rank=3).rank == 3


@pytest.mark.parametrize("field", ["d_model", "depth", "d_state", "d_conv", "expand", "dt_rank"])
def test_sizes_below_one_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}=0 must be at least 1"):
        MambaConfig(**{field: 0})


@pytest.mark.parametrize("kind", [MambaConfig, Mamba2Config])
def test_step_sizes_that_make_no_range_are_refused(kind):
    with pytest.raises(ValueError, match=r"dt_min=0\.2 must be above 0 and at most dt_max=0\.1"):
        kind(dt_min=0.2)
    with pytest.raises(ValueError, match="dt_min=0 must be above 0"):
        kind(dt_min=0)


@both_kinds
def test_bfloat16_inputs_meet_a_residual_stream_in_float32(config):
    model, x = Mamba(config), torch.randn(2, 5, config.d_model, dtype=torch.bfloat16)
    y, _ = model(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, model(x.float())[0])


def test_the_reference_encoder_has_about_the_parameters_it_reports():
    """12.3 M in the table of the StateVLA documents, which counts what is around the blocks as well."""
    size = sum(p.numel() for p in Mamba(MambaConfig(d_model=256, depth=12)).parameters())
    assert 5e6 < size < 12.3e6
