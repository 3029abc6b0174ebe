"""History encoders: what they know, what they do not, and that time is counted backwards from the newest step."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from tempovla.model.temporal import ActionHistoryEncoder, HistoryEncoder, HistoryEncoderConfig, StateHistoryEncoder

CONFIG = HistoryEncoderConfig(obs_dim=5, action_dim=3, hidden_dim=16, output_dim=12, history_length=6, num_heads=2)
PER_STEP = ("cross_attended", "state_sequence")
POOLED = ("state_encoding", "action_encoding", "fused")


def encoder(**options) -> HistoryEncoder:
    torch.manual_seed(0)
    return HistoryEncoder(replace(CONFIG, **options)).eval()


def steps(rows: int = 3, length: int = 6, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, 5, generator=generator), torch.randn(rows, length, 3, generator=generator)


def left_padding(*lengths: int, length: int = 6) -> torch.Tensor:
    return torch.arange(length) >= length - torch.tensor(lengths)[:, None]


def assert_same(expected: dict, actual: dict, names=POOLED) -> None:
    for name in names:
        torch.testing.assert_close(
            actual[name], expected[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_defaults_are_those_of_the_page():
    defaults = {field.name: field.default for field in fields(HistoryEncoderConfig)}
    sizes = {"obs_dim": 768, "action_dim": 7, "hidden_dim": 512, "output_dim": 768, "history_length": 16}
    assert defaults == {
        **sizes,
        "num_layers": 2,
        "num_heads": 8,
        "dropout": 0.1,
        "use_action_embedding": True,
        "use_timestep_embedding": True,
    }


def test_outputs_have_the_keys_and_shapes_of_the_page():
    outputs = encoder()(*steps())
    expected = dict.fromkeys(POOLED, (3, 12)) | dict.fromkeys(PER_STEP, (3, 6, 12))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == expected


@pytest.mark.parametrize("constant", [0, 1])
def test_the_cross_attended_sequence_varies_over_time(constant):
    history = list(steps())
    history[constant] = history[constant][:, :1].expand_as(history[constant])
    outputs = encoder()(*history)["cross_attended"]
    assert outputs.std(dim=1).mean() > 0.01


@pytest.mark.parametrize("changed", [0, 1])
def test_a_step_knows_itself_and_what_is_before_it(changed):
    model, history = encoder(), list(steps())
    before = model(*history)
    history[changed] = history[changed].clone()
    history[changed][:, 3] += 1.0
    after = model(*history)
    differs = (after["cross_attended"] - before["cross_attended"]).abs().amax(dim=(0, 2))
    assert differs[:3].max() == 0.0
    assert (differs[3:] > 1e-5).all()
    if changed == 0:
        differs = (after["state_sequence"] - before["state_sequence"]).abs().amax(dim=(0, 2))
        assert differs[:3].max() == 0.0
        assert (differs[3:] > 1e-5).all()
    assert (after["fused"] - before["fused"]).abs().max() > 1e-5


def test_a_whole_sequence_says_at_each_step_what_its_beginning_says():
    model, (states, actions) = encoder(), steps()
    whole = model(states, actions)
    for end in range(1, 7):
        part = model(states[:, :end], actions[:, :end])
        assert_same({name: whole[name][:, :end] for name in PER_STEP}, part, PER_STEP)


@pytest.mark.parametrize("side", ["left", "right", "both", "between"])
def test_padding_changes_nothing_wherever_it_lies_and_whatever_is_in_it(side):
    model, (states, actions) = encoder(), steps(length=4)
    place = {"left": [2, 3, 4, 5], "right": [0, 1, 2, 3], "both": [1, 2, 3, 4], "between": [0, 1, 4, 5]}[side]
    valid = torch.zeros(3, 6, dtype=torch.bool)
    valid[:, place] = True
    padded = [torch.full((3, 6, x.shape[2]), torch.nan) for x in (states, actions)]
    for full, x in zip(padded, (states, actions), strict=True):
        full[:, place] = x
    expected, actual = model(states, actions), model(*padded, valid)
    assert_same(expected, actual)
    for name in PER_STEP:
        torch.testing.assert_close(actual[name][:, place], expected[name], rtol=1e-5, atol=1e-5)
        assert not actual[name][~valid].any()


def test_the_gradient_does_not_meet_what_is_in_padding():
    model, (states, actions) = encoder(), steps()
    valid = left_padding(6, 2, 0)
    states[~valid], actions[~valid] = torch.nan, torch.nan
    sum(value.sum() for value in model(states, actions, valid).values()).backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_rows_without_history_read_as_one_learned_null():
    model, (states, actions) = encoder(), steps()
    none = model(states, actions, torch.zeros(3, 6, dtype=torch.bool))
    mixed = model(states, actions, left_padding(6, 0, 3))
    empty = model(states[:, :0], actions[:, :0])
    for name in POOLED:
        assert torch.equal(none[name], none[name][:1].expand(3, -1))
        torch.testing.assert_close(mixed[name][1], none[name][1])
        torch.testing.assert_close(empty[name], none[name])
        assert (mixed[name][0] - none[name][0]).abs().max() > 1e-3
    assert torch.equal(none["state_encoding"][0], model.state_encoder.null)
    none["fused"].sum().backward()
    for null in (model.state_encoder.null, model.action_encoder.null, model.null_cross):
        assert null.grad.abs().sum() > 0


def test_the_newest_state_may_be_without_an_action():
    model, (states, actions) = encoder(), steps()
    one_fewer = model(states, actions[:, :-1])
    known = torch.arange(6).expand(3, 6) < 5
    actions[:, -1] = torch.nan
    assert_same(model(states, actions, action_valid=known), one_fewer, POOLED + PER_STEP)
    alone = model(states[:, :1], actions[:, :0])
    torch.testing.assert_close(alone["action_encoding"], model.action_encoder.null.expand(3, -1))
    assert alone["fused"].isfinite().all()


def test_masks_of_the_start_of_an_episode_fit_one_action_fewer():
    model, (states, actions) = encoder(), steps()
    valid = left_padding(6, 3, 1)
    padded = model(states, actions[:, :-1], valid)
    for row, length in enumerate((6, 3, 1)):
        window = slice(6 - length, None)
        alone = model(states[row : row + 1, window], actions[row : row + 1, window][:, :-1])
        assert_same({name: alone[name][0] for name in POOLED}, {name: padded[name][row] for name in POOLED})


def test_a_lost_action_takes_time_that_padding_does_not():
    model, (_, actions) = encoder().action_encoder, steps()
    lost = torch.arange(6).expand(3, 6) != 3
    padding = model(actions, lost, lost).encoding
    torch.testing.assert_close(padding, model(actions[:, lost[0]]).encoding, rtol=1e-5, atol=1e-5)
    assert (model(actions, lost, torch.ones_like(lost)).encoding - padding).abs().max() > 1e-5


def test_actions_are_embedded_only_if_asked():
    _, actions = steps()
    for embedded in (True, False):
        entry = encoder(use_action_embedding=embedded).action_encoder.entry
        a, b = actions[:, 0], actions[:, 1]
        bend = (entry(a) + entry(b) - entry(a + b) - entry(torch.zeros_like(a))).abs().max()
        assert (bend > 1e-2) if embedded else (bend < 1e-6)


def test_the_order_of_earlier_steps_matters_only_with_timestep_embeddings():
    states, actions = steps()
    order = [3, 1, 4, 0, 2, 5]
    for embedded in (True, False):
        model = encoder(use_timestep_embedding=embedded, num_layers=1)
        ages = [name for name, _ in model.named_parameters() if name.endswith(".age")]
        assert len(ages) == (3 if embedded else 0)
        for name, value in model.named_parameters():
            if name in ages:
                torch.nn.init.normal_(value)
        difference = (
            model(states, actions)["state_encoding"] - model(states[:, order], actions[:, order])["state_encoding"]
        )
        assert (difference.abs().max() > 1e-3) if embedded else (difference.abs().max() < 1e-6)


def test_timestep_embeddings_learn():
    model = encoder()
    model(*steps())["fused"].square().sum().backward()
    for attention in (model.cross_attention, model.state_encoder.blocks[0].attention):
        assert attention.age.grad.abs().sum() > 0


def test_dropout_acts_in_training_alone():
    model, history = encoder(dropout=0.5), steps()
    assert torch.equal(model(*history)["fused"], model(*history)["fused"])
    model.train()
    assert not torch.equal(model(*history)["fused"], model(*history)["fused"])
    model = encoder(dropout=0.0).train()
    assert torch.equal(model(*history)["fused"], model(*history)["fused"])


def test_autocast_gives_about_the_same():
    model, (states, actions) = encoder(), steps()
    valid = left_padding(6, 3, 0)
    expected = model(states, actions, valid)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(states, actions, valid)
    for name, value in outputs.items():
        torch.testing.assert_close(value.float(), expected[name], rtol=0.05, atol=0.05)


def test_gradients_agree_with_differences():
    model = encoder(hidden_dim=4, output_dim=4, history_length=3, num_layers=1).double()
    states, actions = (x.double().requires_grad_() for x in steps(rows=2, length=3))
    valid = left_padding(3, 2, length=3)
    assert torch.autograd.gradcheck(lambda s, a: tuple(model(s, a, valid).values()), (states, actions))


@pytest.mark.parametrize("knows_time", [True, False])
def test_what_an_action_was_some_steps_ago_can_be_learned_by_its_age_alone(knows_time):
    torch.manual_seed(0)
    config = replace(CONFIG, output_dim=4, dropout=0.0, num_layers=1, use_timestep_embedding=knows_time)
    model = HistoryEncoder(config)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(180):
        states, actions = torch.zeros(32, 6, 5), torch.randn(32, 6, 3)
        loss = (model(states, actions)["fused"][:, :3] - actions[:, 2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[:10]) / 10 > 0.9
    late = sum(losses[-10:]) / 10
    assert (late < 0.1) if knows_time else (late > 0.7)


def test_the_guides_signature_is_served():
    model = HistoryEncoder(obs_dim=5, action_dim=3, context_dim=16, num_layers=1, num_heads=2).eval()
    states, actions = steps()
    assert (model.config.hidden_dim, model.config.output_dim, model.config.num_layers) == (16, 16, 1)
    context = model.context(states, actions[:, :-1])
    assert context.shape == (3, 16)
    assert torch.equal(context, model(states, actions[:, :-1])["fused"])
    default = HistoryEncoder(obs_dim=5, action_dim=3).config
    assert (default.output_dim, default.num_layers) == (256, 2)


def test_the_encoders_of_one_stream_stand_alone():
    states, actions = steps()
    torch.manual_seed(0)
    state_encoder, action_encoder = StateHistoryEncoder(CONFIG).eval(), ActionHistoryEncoder(CONFIG).eval()
    for encoded in (state_encoder(states), action_encoder(actions)):
        assert encoded.sequence.shape == (3, 6, 12)
        assert torch.equal(encoded.encoding, encoded.sequence[:, -1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 15}, "hidden_dim=15 is not divisible by num_heads=2"),
        ({"output_dim": 15}, "output_dim=15 is not divisible by num_heads=2"),
        ({"history_length": 0}, "history_length=0 must be at least 1"),
        ({"dropout": 1.0}, "dropout=1.0 must be at least 0 and below 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **options)


def test_sizes_may_be_given_in_their_order():
    named = HistoryEncoder(obs_dim=5, action_dim=3, context_dim=16, num_layers=1, num_heads=2)
    assert HistoryEncoder(5, 3, 16, 1, num_heads=2).config == named.config


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        ((5,), {}),
        ((), {"obs_dim": 5}),
        ((CONFIG,), {"obs_dim": 5, "action_dim": 3}),
        ((CONFIG,), {"num_layers": 1}),
    ],
)
def test_an_encoder_of_neither_or_both_signatures_is_refused(arguments, options):
    with pytest.raises(ValueError, match="either a HistoryEncoderConfig alone, or both obs_dim and action_dim"):
        HistoryEncoder(*arguments, **options)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 6, 4), (3, 6, 3)), r"states \(3, 6, 4\) must be \(rows, steps, 5\)"),
        (((3, 6, 5), (3, 6, 2)), r"actions \(3, 6, 2\) must be \(rows, steps, 3\)"),
        (((3, 6, 5), (3, 4, 3)), "one a step of states .*or one fewer"),
        (((3, 6, 5), (2, 6, 3)), "one a step of states .*or one fewer"),
        (((3, 7, 5), (3, 7, 3)), "7 steps is longer than history_length=6"),
        (((3, 6, 5), (3, 6, 3), (3, 5)), r"validity \(3, 5\) of states must be \(3, 6\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        encoder()(*(torch.ones(shape) for shape in shapes))
