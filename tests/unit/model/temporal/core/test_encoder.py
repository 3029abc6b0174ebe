import dataclasses
import itertools

import pytest
import torch

from tempovla.model.temporal import TemporalEncoder, TemporalEncoderConfig, TemporalLSTM, TemporalTransformer
from tempovla.model.temporal.core.config import TemporalPartConfig
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.timeline.laws.compare import largest_difference

SMALL = {"input_dim": 6, "hidden_dim": 8, "output_dim": 5, "num_layers": 2, "num_heads": 2, "max_seq_len": 16}
CASES = {
    **{kind: {"encoder_type": kind} for kind in TEMPORAL_REGISTRY},
    "window": {"window": 3},
    "rotary": {"window": 4, "use_learned_pos_embed": False},
    "both-ways": {"use_causal_mask": False},
    "both-ways-rotary": {"use_causal_mask": False, "use_learned_pos_embed": False},
    "chunked": {"max_seq_len": 3, "chunk_long_sequences": True},
    "lstm-chunked": {"encoder_type": "lstm", "max_seq_len": 3, "chunk_long_sequences": True},
    "frames-now": {"encoder_type": "frames", "frame_offsets": (0,)},
    "frames-near": {"encoder_type": "frames", "frame_offsets": (-2, -1, 0)},
}
STREAMED = [name for name in CASES if not name.startswith("both")]
every_case = pytest.mark.parametrize("case", CASES)
every_streamed_case = pytest.mark.parametrize("case", STREAMED)


def build(case, **options):
    torch.manual_seed(0)
    encoder = TemporalEncoder(TemporalEncoderConfig(**SMALL | CASES[case] | options)).eval()
    with torch.no_grad():  # so that no parameter hides behind a zero
        for parameter in encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder


def sequence(batch=3, length=9):
    return torch.randn(batch, length, 6, generator=torch.Generator().manual_seed(1))


def assert_alike(actual, expected):
    difference = largest_difference(expected, actual)
    assert difference is None or not difference.exceeds(1e-5), difference


def test_every_core_has_the_name_that_it_is_registered_under():
    assert {name: core.encoder_type for name, core in TEMPORAL_REGISTRY.items()} == {n: n for n in TEMPORAL_REGISTRY}


def test_defaults_are_those_that_users_know():
    config = TemporalEncoderConfig()
    assert (config.input_dim, config.hidden_dim, config.output_dim, config.num_layers) == (768, 512, 768, 4)
    assert (config.num_heads, config.max_seq_len, config.dropout, config.encoder_type) == (8, 64, 0.1, "transformer")
    assert config.use_causal_mask
    assert config.use_positional_encoding
    assert config.use_learned_pos_embed


@every_case
def test_outputs_have_their_shapes_and_the_last_one_is_that_of_the_newest_step(case):
    encoder, x = build(case), sequence()
    outputs = encoder(x, torch.ones(3, 9))
    assert outputs["hidden_states"].shape == (3, 9, 5)
    assert outputs["aggregated"].shape == (3, 5)
    torch.testing.assert_close(outputs["last_hidden_state"], outputs["hidden_states"][:, -1])
    torch.testing.assert_close(encoder.get_last_hidden_state(x), outputs["last_hidden_state"])
    assert set(encoder(x, return_sequence=False)) == {"last_hidden_state", "aggregated"}


@every_case
@pytest.mark.parametrize("kind", [torch.bool, torch.float32, torch.int64])
def test_padding_on_either_side_or_inside_changes_nothing_even_as_nan(case, kind):
    encoder, x = build(case), sequence()
    expected = encoder(x)
    places = {"left": range(4, 13), "right": range(9), "inside": (0, 1, 4, 5, 6, 8, 10, 11, 12), "both": range(2, 11)}
    for steps in places.values():
        steps = list(steps)
        padded, mask = torch.full((3, 13, 6), torch.nan), torch.zeros(3, 13, dtype=kind)
        padded[:, steps], mask[:, steps] = x, 1
        outputs = encoder(padded, mask)
        assert_alike(outputs["hidden_states"][:, steps], expected["hidden_states"])
        assert_alike(outputs["last_hidden_state"], expected["last_hidden_state"])
        assert_alike(outputs["aggregated"], expected["aggregated"])
        padding = [step for step in range(13) if step not in steps]
        assert bool((outputs["hidden_states"][:, padding] == 0).all())


@every_case
def test_rows_are_padded_each_on_its_own(case):
    encoder, x = build(case), sequence()
    mask = torch.arange(9) >= torch.tensor([[0], [4], [8]])
    outputs = encoder(x, mask)
    for row, start in enumerate((0, 4, 8)):
        alone = encoder(x[row : row + 1, start:])
        assert_alike(outputs["aggregated"][row], alone["aggregated"][0])
        assert_alike(outputs["hidden_states"][row, start:], alone["hidden_states"][0])


@every_case
def test_a_row_without_a_valid_step_gives_what_was_learned_for_it_and_gradients_stay_numbers(case):
    encoder = build(case).train()
    mask = torch.tensor([[True] * 9, [False] * 9, [False] * 8 + [True]])
    outputs = encoder(sequence().masked_fill(~mask.unsqueeze(2), torch.nan), mask)
    torch.testing.assert_close(outputs["last_hidden_state"][1], encoder.core.no_hidden)
    torch.testing.assert_close(outputs["aggregated"][1], encoder.core.no_aggregated)
    assert bool((outputs["hidden_states"][1] == 0).all())
    sum(output.square().sum() for output in outputs.values()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


@every_streamed_case
def test_later_steps_change_no_earlier_output(case):
    encoder, x = build(case), sequence()
    changed = x.clone()
    changed[:, 5:] += 10.0
    before, after = (encoder.run(value, encoder.initial_state(3))[0] for value in (x, changed))
    assert torch.equal(before.hidden[:, :5], after.hidden[:, :5])
    assert torch.equal(before.aggregated[:, :5], after.aggregated[:, :5])
    assert not torch.allclose(before.hidden[:, 5:], after.hidden[:, 5:])


@every_streamed_case
def test_a_stream_gives_what_forward_gives(case):
    encoder, x = build(case), sequence()
    whole, state = encoder(x), encoder.init_hidden(3, torch.device("cpu"))
    for index in range(9):
        output, state = encoder.step(x[:, index], state)
        assert_alike(output.hidden, whole["hidden_states"][:, index])
    assert_alike(output.last, whole["last_hidden_state"])
    assert_alike(output.aggregated, whole["aggregated"])


@every_streamed_case
def test_rows_that_reset_at_different_times_are_each_as_their_own_episodes(case):
    encoder, x = build(case), sequence(length=12)
    starts = [(0, 5, 12), (0, 2, 9, 12), (0, 12)]
    state, outputs = encoder.initial_state(3), []
    for index in range(12):
        state = state.reset(torch.tensor([index in row for row in starts]))
        output, state = encoder.step(x[:, index], state)
        outputs.append(torch.cat([output.hidden, output.aggregated], dim=1))
    streamed = torch.stack(outputs, dim=1)
    for row, borders in enumerate(starts):
        for start, end in itertools.pairwise(borders):
            whole, _ = encoder.run(x[row : row + 1, start:end], encoder.initial_state(1))
            assert_alike(streamed[row, start:end], torch.cat([whole.hidden, whole.aggregated], dim=2)[0])


@every_streamed_case
def test_invalid_steps_of_a_stream_are_skipped_and_the_state_held(case):
    encoder, x = build(case), sequence()
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(3, 9, generator=generator) > 0.5
    mask[0, :3] = False
    expected, end = encoder.run(x, encoder.initial_state(3), mask)
    state = encoder.initial_state(3)
    for index in range(9):
        x_now = x[:, index].masked_fill(~mask[:, index, None], torch.nan)
        output, after = encoder.step(x_now, state, mask[:, index])
        assert_alike(output.hidden, expected.hidden[:, index])
        assert_alike(output.aggregated, expected.aggregated[:, index])
        held = state.reset(mask[:, index])
        assert_alike(after.reset(mask[:, index]), held)
        state = after
    assert_alike(state, end)


@every_streamed_case
def test_a_state_is_a_snapshot_that_later_steps_leave_alone(case):
    encoder, x = build(case), sequence()
    _, state = encoder.run(x[:, :4], encoder.initial_state(3))
    first, _ = encoder.run(x[:, 4:], state)
    encoder.step(x[:, 0], state.reset(torch.tensor([True, False, True])))
    again, _ = encoder.run(x[:, 4:], state)
    assert torch.equal(first.hidden, again.hidden)


@pytest.mark.parametrize("case", [name for name in STREAMED if name != "frames-now"])
def test_gradients_reach_the_past_through_the_state_until_it_is_detached(case):
    encoder, x = build(case), sequence(length=6).requires_grad_()
    _, state = encoder.run(x, encoder.initial_state(3))
    encoder.step(torch.ones(3, 6), state)[0].hidden.square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())
    x.grad = None
    encoder.step(torch.zeros(3, 6), encoder.run(x, encoder.initial_state(3))[1].detach())[0].hidden.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("case", ["transformer", "lstm", "mamba"])
def test_chunked_sequences_give_what_uncut_ones_give(case):
    x = sequence(length=15)
    whole = build(case, window=4)
    cut = build(case, window=4, max_seq_len=5, chunk_long_sequences=True)
    cut.load_state_dict(whole.state_dict())
    mask = torch.arange(15) >= torch.tensor([[0], [7], [15]])
    for given in (None, mask):
        assert_alike(cut(x, given), whole(x, given))


def test_a_transformer_layer_sees_its_window_and_no_further():
    encoder, x = build("transformer", window=3, num_layers=1), sequence()
    changed = x.clone()
    changed[:, 2] += 10.0
    before, after = (encoder(value)["hidden_states"] for value in (x, changed))
    apart = (before - after).abs().amax((0, 2)) > 1e-6
    assert apart.tolist() == [False, False, True, True, True, False, False, False, False]
    before, after = (encoder(value[:, :6])["aggregated"] for value in (x, changed))
    assert not torch.allclose(before, after)  # pools steps 3 to 5; steps 3 and 4 saw step 2
    assert torch.equal(*(encoder(value[:, :8])["aggregated"] for value in (x, changed)))


def test_sampled_frames_are_those_of_the_offsets_and_no_others():
    encoder, x = build("frames", frame_offsets=(-4, -1, 0)), sequence()
    changed = x.clone()
    changed[:, 2] += 10.0
    before, after = (encoder(value)["hidden_states"] for value in (x, changed))
    apart = (before - after).abs().amax((0, 2)) > 1e-6
    assert apart.tolist() == [False, False, True, True, False, False, True, False, False]


@pytest.mark.parametrize("learned", [True, False])
def test_positions_tell_orders_apart_and_without_them_the_past_is_a_set(learned):
    x = sequence(length=4)
    swapped = x[:, [1, 0, 2, 3]]
    for positions in (True, False):
        options = {"num_layers": 1, "use_positional_encoding": positions, "use_learned_pos_embed": learned}
        encoder = build("transformer", **options)
        last, other = (encoder.get_last_hidden_state(value) for value in (x, swapped))
        assert torch.allclose(last, other, atol=1e-5) != positions


def test_without_the_causal_mask_early_steps_see_late_ones():
    encoder, x = build("both-ways"), sequence()
    changed = x.clone()
    changed[:, -1] += 10.0
    assert not torch.allclose(encoder(x)["hidden_states"][:, 0], encoder(changed)["hidden_states"][:, 0])


def test_the_aggregate_of_a_new_encoder_is_the_mean_of_its_valid_hidden_states():
    torch.manual_seed(0)
    mask = torch.arange(9) >= torch.tensor([[0], [4], [7]])
    for kind in ("transformer", "lstm", "gru", "mamba"):
        encoder = TemporalEncoder(TemporalEncoderConfig(encoder_type=kind, **SMALL)).eval()
        outputs = encoder(sequence(), mask)
        mean = outputs["hidden_states"].sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(outputs["aggregated"], mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("learned", [True, False])
def test_a_long_stream_through_a_wide_window_gives_what_the_sequence_gives(learned):
    options = {"max_seq_len": 400, "window": 150, "use_learned_pos_embed": learned}
    encoder, x = build("transformer", **options), sequence(2, 400)
    whole, _ = encoder.run(x, encoder.initial_state(2))
    _, state = encoder.run(x[:, :390], encoder.initial_state(2))
    for index in range(390, 400):
        output, state = encoder.step(x[:, index], state)
        assert_alike(output.hidden, whole.hidden[:, index])
        assert_alike(output.aggregated, whole.aggregated[:, index])


def test_the_lstm_takes_and_gives_a_hidden_state():
    torch.manual_seed(0)
    lstm, x = TemporalLSTM(TemporalEncoderConfig(encoder_type="lstm", **SMALL)).eval(), sequence()
    output, hidden = lstm(x[:, :5], lstm.init_hidden(3, device=torch.device("cpu")))
    rest, _ = lstm(x[:, 5:], hidden)
    assert_alike(torch.cat([output, rest], dim=1), lstm(x)[0])
    padded = torch.cat([torch.full((3, 2, 6), torch.nan), x], dim=1)
    assert_alike(lstm(padded, None, torch.tensor([[0, 0] + [1] * 9] * 3))[0][:, 2:], lstm(x)[0])


def test_the_transformer_gives_its_last_hidden_state():
    torch.manual_seed(0)
    transformer, x = TemporalTransformer(TemporalEncoderConfig(**SMALL)).eval(), sequence()
    mask = torch.arange(9).expand(3, 9) < 5
    expected = transformer(x[:, :5])["hidden_states"][:, -1]
    assert_alike(transformer.get_last_hidden_state(x, mask), expected)


@pytest.mark.parametrize("case", ["transformer", "lstm", "gru", "mamba", "frames", "rotary"])
def test_bfloat16_autocast_streams_and_keeps_its_state_in_float32(case):
    encoder, x = build(case), sequence()
    with torch.autocast("cpu", torch.bfloat16):
        output, state = encoder.run(x, encoder.initial_state(3))
        stepped, state = encoder.step(x[:, 0], state)
    reference, _ = encoder.run(x, encoder.initial_state(3))
    assert state.hidden.dtype == state.pooled.dtype == torch.float32
    assert bool(stepped.hidden.isfinite().all())
    torch.testing.assert_close(output.hidden.float(), reference.hidden, rtol=0.1, atol=0.2)


def test_layers_computed_again_in_the_backward_pass_give_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        encoder = build("transformer")
        encoder.core.recompute = recompute
        encoder(sequence())["aggregated"].sum().backward()
        gradients.append([parameter.grad for parameter in encoder.core.blocks.parameters()])
    assert_alike(gradients[1], gradients[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_type": "rnn"}, "encoder_type='rnn' is unknown"),
        ({"hidden_dim": 9}, "hidden_dim=9 must be an even multiple of num_heads=2"),
        ({"window": 0}, "window=0 must be at least 1"),
        ({"num_layers": 0}, "num_layers=0 must be at least 1"),
        ({"dropout": 1.0}, "dropout=1.0 must be in"),
        ({"frame_offsets": (0, -4)}, "must increase and end in 0"),
        ({"frame_offsets": ()}, "must increase and end in 0"),
        ({"encoder_type": "lstm", "use_causal_mask": False}, "'lstm' is always causal"),
        ({"use_causal_mask": False, "chunk_long_sequences": True}, "leave out window and chunk_long_sequences"),
    ],
)
def test_wrong_configs_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        TemporalEncoderConfig(**SMALL | options)
    assert "\n" not in str(error.value)


def test_wrong_calls_are_refused_in_one_line():
    encoder = build("transformer")
    for call, message in [
        (lambda: encoder(sequence(length=17)), "17 steps is longer than max_seq_len=16"),
        (lambda: encoder(sequence()[:, :, :5]), r"must be \(B, T, input_dim\)"),
        (lambda: encoder(sequence()[:, :0]), "T >= 1"),
        (lambda: encoder(sequence(), torch.ones(3, 8)), r"attention_mask \(3, 8\) must be"),
        (lambda: encoder(sequence(), torch.full((3, 9), -1e9)), "other than 0 and 1"),
        (lambda: encoder.run(sequence(), encoder.initial_state(2)), "state of 2 rows does not fit 3 rows"),
        (lambda: build("both-ways").initial_state(2), "use_causal_mask=False cannot be streamed"),
        (lambda: TemporalLSTM(TemporalEncoderConfig()), "TemporalLSTM needs encoder_type='lstm'"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_config_changes_only_by_a_copy():
    config = TemporalEncoderConfig()
    assert dataclasses.replace(config, window=8).visible_steps == 8
    assert config.visible_steps == 64


@pytest.mark.parametrize(("kind", "width"), [("transformer", 32), ("lstm", 24), ("mamba", 24)])
def test_a_part_is_as_wide_as_the_features_or_as_the_heads_allow_unless_told_otherwise(kind, width):
    part = TemporalPartConfig(encoder_type=kind)
    assert part.encoder_config(24, 6).hidden_dim == width
    assert dataclasses.replace(part, hidden_dim=48).encoder_config(24, 6).hidden_dim == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_type": "lstn"}, "encoder_type='lstn' is unknown; did you mean 'lstm'?"),
        ({"hidden_dim": 20}, "hidden_dim=20 must be an even multiple of num_heads=8"),
        ({"num_layers": 0}, "TemporalPartConfig.num_layers=0 must be at least 1"),
        ({"max_seq_len": 0}, "max_seq_len=0 must be at least 1"),
    ],
)
def test_options_of_a_part_that_cannot_be_built_are_refused_when_they_are_written(options, message):
    with pytest.raises(ValueError, match=message):
        TemporalPartConfig(**options)


def cue_then_noise(batch):
    """Steps of noise, and in the first of them the sign that is asked for after the last."""
    cue = torch.randint(2, (batch, 1)) * 2.0 - 1.0
    x = torch.randn(batch, 12, 2)
    x[:, :, 0] = 0.0
    x[:, 0, 0] = cue[:, 0]
    return x, cue


@pytest.mark.parametrize("kind", TEMPORAL_REGISTRY)
def test_a_core_learns_to_recall_the_first_step_and_sampled_frames_that_miss_it_do_not(kind):
    torch.manual_seed(0)
    options = {"num_layers": 1, "num_heads": 2, "dropout": 0.0, "encoder_type": kind, "frame_offsets": (-4, 0)}
    encoder = TemporalEncoder(TemporalEncoderConfig(2, 16, 1, 16, **options))
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    for _ in range(100):
        x, cue = cue_then_noise(32)
        optimizer.zero_grad()
        (encoder(x)["last_hidden_state"] - cue).square().mean().backward()
        optimizer.step()
    x, cue = cue_then_noise(500)
    with torch.no_grad():
        right = float((encoder(x)["last_hidden_state"] * cue > 0).float().mean())
    assert right < 0.6 if kind == "frames" else right > 0.95
