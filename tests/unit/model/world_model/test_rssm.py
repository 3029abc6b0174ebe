"""The recurrent state-space model: filtering, imagining, forgetting, and what is predicted from its states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.world_model.observation_decoder import CAMERA, ObservationDecoder
from tempovla.model.world_model.predictors import RewardPredictor
from tempovla.model.world_model.protocol import WorldModel
from tempovla.model.world_model.rssm import RSSM
from tempovla.model.world_model.rssm_state import RSSMState
from tempovla.model.world_model.two_hot import symlog
from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

ROWS, STEPS, BODY = 3, 5, Embodiment("toy", 3, 2, 10.0)
SMALL = {"variables": 4, "classes": 5, "channels": 1, "bins": 11, "symlog_range": 2.0, "num_layers": 1}


def world(latent: str = "categorical", **options: Any) -> RSSM:
    """A small model all of whose weights have learned something."""
    torch.manual_seed(0)
    made = RSSM(8, 2, 12, robot_state_dim=3, cameras=(), discount=0.9, latent=latent, **{**SMALL, **options})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.eval()


both = pytest.mark.parametrize("latent", ["categorical", "gaussian"])


def sequence(steps: int = STEPS, seed: int = 0) -> dict[str, Any]:
    """Arguments of `observe`: everything is seen, and an episode begins at the first step."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(ROWS, steps, dtype=torch.bool)
    first[:, 0] = True
    return {
        "values": {STATE_KEY: torch.randn(ROWS, steps, 3, generator=generator)},
        "seen": torch.ones(ROWS, steps, dtype=torch.bool),
        "actions": torch.rand(ROWS, steps, 2, generator=generator) * 2 - 1,
        "first": first,
    }


def noise_of(model: RSSM, steps: int = STEPS) -> torch.Tensor:
    return model.latent.noise(torch.arange(ROWS) + 5, (steps,))


def context(state: torch.Tensor, action: torch.Tensor, known: bool = True, first: bool = False) -> Context:
    rows = len(state)
    past = {ACTION_KEY: Track.of(action[:, None], (-1,), torch.full((rows, 1), known))}
    now = {STATE_KEY: Track.of(state[:, None], (0,))}
    return Context(past, now, (Task("", BODY),) * rows, torch.full((rows,), first))


def assert_same(one: RSSMState, other: RSSMState, tolerance: float = 0.0) -> None:
    for left, right in zip(vars(one).values(), vars(other).values(), strict=True):
        torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def test_two_sizes_are_enough_and_it_is_a_world_model():
    assert RSSM(state_dim=16, action_dim=7).config.hidden_dim == 512
    model = RSSM(state_dim=16, action_dim=7, hidden_dim=24)
    assert isinstance(model, WorldModel)
    assert isinstance(model.decoder, ObservationDecoder)
    assert isinstance(model.reward_head, RewardPredictor)
    picture = torch.randint(256, (2, 1, 3, 64, 64), dtype=torch.uint8)
    seen = Context({}, {CAMERA: Track.of(picture, (0,))}, (Task("", BODY),) * 2, torch.ones(2, dtype=torch.bool))
    state = model.encode(seen)
    states = model.imagine(state, torch.zeros(2, 15, 7))
    assert states.features.shape == (2, 15, 16 + 32 * 32)
    assert model.predict_rewards(states).shape == (2, 15)
    assert model.decoder(states.features)[CAMERA].shape == (2, 15, 3, 64, 64)


def test_a_model_that_sees_nothing_is_refused():
    with pytest.raises(ValueError, match="leave nothing to see; give one of them"):
        RSSM(cameras=())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_dim": -1}, "action_dim=-1 must be at least 1"),
        ({"cameras": CAMERA}, r"is one text; give a list of keys, such as \['observation"),
        ({"hiden_dim": 3}, "the option 'hiden_dim' is unknown; did you mean hidden_dim?"),
        ({"colour": 3}, "the option 'colour' is unknown; choose from state_dim, "),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        RSSM(**options)
    assert "\n" not in str(refused.value)


def test_what_is_no_state_action_or_feature_of_the_model_is_refused():
    model = world()
    state = model.initial_state(2)
    with pytest.raises(ValueError, match="the state is a Tensor; give an RSSMState"):
        model.imagine(torch.zeros(2, 8), torch.zeros(2, 1, 2))
    with pytest.raises(ValueError, match="the state is a Tensor; give an RSSMState"):
        model.predict_rewards(torch.zeros(2, 8))
    with pytest.raises(ValueError, match="actions are a ndarray; give a tensor"):
        model.imagine(state, torch.zeros(2, 1, 2).numpy())
    with pytest.raises(ValueError, match=r"rows are a list; give a tensor \(2,\) of bools"):
        state.reset([True, False])
    for part in (ObservationDecoder(8, 3, ()), RewardPredictor(8)):
        with pytest.raises(ValueError, match=r"features \(2, 28\) have the size 28, but state_dim=8 .*feature_dim"):
            part(state.features)


@both
def test_frame_by_frame_it_knows_what_the_whole_sequence_tells(latent):
    model, given = world(latent), sequence()
    noise = noise_of(model)
    whole = model.observe(**given, noise=noise).states
    state = None
    for step in range(STEPS):
        seen = context(given["values"][STATE_KEY][:, step], given["actions"][:, step], first=step == 0)
        state = model.encode(seen, state, noise[:, step])
        expected = map_tensors(lambda x, step=step: x[:, step], whole)
        assert_same(state, expected, 1e-5)
    cut = {key: value[:, :2] for key, value in given.items() if key != "values"}
    rest = {key: value[:, 2:] for key, value in given.items() if key != "values"}
    values = given["values"][STATE_KEY]
    half = model.observe({STATE_KEY: values[:, :2]}, **cut, noise=noise[:, :2]).states
    middle = map_tensors(lambda x: x[:, -1], half)
    end = model.observe({STATE_KEY: values[:, 2:]}, **rest, noise=noise[:, 2:], state=middle).states
    assert_same(end, map_tensors(lambda x: x[:, 2:], whole), 1e-5)


@both
def test_to_imagine_is_to_observe_with_the_prior_in_the_posteriors_place(latent):
    model, given = world(latent), sequence()
    noise = noise_of(model)
    given["seen"][:, 2:] = False
    observed = model.observe(**given, noise=noise).states
    start = map_tensors(lambda x: x[:, 1], observed)
    imagined = model.imagine(start, given["actions"][:, 2:], noise[:, 2:])
    assert_same(imagined, map_tensors(lambda x: x[:, 2:], observed), 1e-6)
    given["values"][STATE_KEY][:, 2:] = 9.0
    assert_same(model.observe(**given, noise=noise).states, observed)


def test_all_candidates_are_imagined_as_each_alone():
    model = world()
    start = map_tensors(lambda x: x[:, -1], model.observe(**sequence(), noise=noise_of(model)).states)
    actions = torch.rand(ROWS, 4, 6, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = model.imagine(start, actions)
    for candidate in range(4):
        alone = model.imagine(start, actions[:, candidate])
        assert_same(map_tensors(lambda x, candidate=candidate: x[:, candidate], together), alone, 1e-5)


@both
def test_an_episode_that_starts_inside_a_sequence_forgets_what_was_before(latent):
    model, given = world(latent), sequence()
    noise = noise_of(model)
    given["first"][:, 3] = True
    joined = model.observe(**given, noise=noise)

    other = sequence(seed=1)
    given["values"] = {STATE_KEY: given["values"][STATE_KEY].clone()}
    for old, new in ((given["values"][STATE_KEY], other["values"][STATE_KEY]), (given["actions"], other["actions"])):
        old[:, :3] = new[:, :3]
    given["actions"][:, 3] = other["actions"][:, 3]  # it was done in the episode before
    again = model.observe(**given, noise=noise)
    for one, two in ((joined.states.features, again.states.features), (joined.posterior, again.posterior)):
        torch.testing.assert_close(one[:, 3:], two[:, 3:], rtol=0, atol=0)
        assert not torch.equal(one[:, :3], two[:, :3])
    parts = {key: value[:, 3:] for key, value in given.items() if key != "values"}
    alone = model.observe({STATE_KEY: given["values"][STATE_KEY][:, 3:]}, **parts, noise=noise[:, 3:])
    torch.testing.assert_close(joined.states.features[:, 3:], alone.states.features, rtol=1e-5, atol=1e-6)
    whole = model.observe(**{**given, "first": sequence()["first"]}, noise=noise)
    assert not torch.equal(whole.states.features[:, 3:], joined.states.features[:, 3:])


def test_the_last_action_counts_as_it_was_done_and_as_it_was_chosen_where_nothing_is_known():
    model = world()
    before = model.encode(context(torch.ones(ROWS, 3), torch.zeros(ROWS, 2), first=True))
    chosen, done = torch.full((ROWS, 2), 0.3), torch.full((ROWS, 2), -0.8)
    state, later = replace(before, action=chosen), torch.full((ROWS, 3), 0.5)
    as_done = model.encode(context(later, done), state)
    torch.testing.assert_close(as_done.action, done)
    unknown = model.encode(context(later, done * torch.nan, known=False), state)
    assert_same(unknown, model.encode(context(later, chosen), replace(before, action=done)))
    assert not torch.equal(unknown.deterministic, as_done.deterministic)


def test_single_rows_are_reset():
    model = world()
    state = map_tensors(lambda x: x[:, -1], model.observe(**sequence(), noise=noise_of(model)).states)
    fresh = state.reset(torch.tensor([False, True, False]))
    assert_same(fresh.gather(torch.tensor([1])), model.initial_state(1))
    assert_same(fresh.gather(torch.tensor([0, 2])), state.gather(torch.tensor([0, 2])))


@both
def test_rows_are_the_same_alone_and_together(latent):
    model, given = world(latent), sequence()
    noise = noise_of(model)
    whole = model.observe(**given, noise=noise).states
    one = {key: value[1:2] for key, value in given.items() if key != "values"}
    alone = model.observe({STATE_KEY: given["values"][STATE_KEY][1:2]}, **one, noise=noise[1:2]).states
    assert_same(alone, whole.gather(torch.tensor([1])), 1e-5)


@pytest.mark.parametrize("blocks", [2, 4])
def test_the_recurrent_layer_may_be_block_diagonal(blocks):
    model = world(blocks=blocks)
    core = model.core
    h, z, a = torch.randn(2, 8), torch.randn(2, 20), torch.randn(2, 2)
    joined = core.joined(torch.cat([z, a], dim=-1))
    size = 8 // blocks
    gates = []
    for block in range(blocks):
        inputs = torch.cat([h[:, block * size : (block + 1) * size], joined], dim=-1)
        gates.append((inputs @ core.gates.weight[block] + core.gates.bias[block]).unflatten(-1, (3, size)))
    reset, candidate, update = core.norm(torch.cat(gates, dim=-1).flatten(1)).chunk(3, dim=-1)
    share = torch.sigmoid(update - 1.0)
    expected = share * torch.tanh(torch.sigmoid(reset) * candidate) + (1.0 - share) * h
    torch.testing.assert_close(core(h, z, a), expected)


@torch.no_grad()
@pytest.mark.parametrize("predicts_end", [False, True])
def test_the_return_is_what_a_loop_adds_up(predicts_end):
    model = world(predicts_end=predicts_end)
    start = map_tensors(lambda x: x[:, -1], model.observe(**sequence(), noise=noise_of(model)).states)
    actions = torch.rand(ROWS, 4, 3, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def value(features: torch.Tensor) -> torch.Tensor:
        return features.sum(dim=-1)

    expected = torch.zeros(ROWS, 4)
    for candidate in range(4):
        state, weight = start, torch.ones(ROWS)
        for step in range(3):
            state = model.advance(state, actions[:, candidate, step])
            expected[:, candidate] += weight * model.reward_head(state.features)
            weight = weight * 0.9
            if predicts_end:
                weight = weight * torch.sigmoid(model.continue_head.logits(state.features))
        expected[:, candidate] += weight * value(state.features)
    found = model.predict_return(start, actions, value)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.std() > 0.01


def test_rewards_follow_from_the_states_that_were_reached():
    model = world()
    start = model.initial_state(ROWS)
    actions = torch.rand(ROWS, 4, 3, 2) * 2 - 1
    states = model.imagine(start, actions)
    rewards = model.predict_rewards(start, actions, states)
    torch.testing.assert_close(rewards, model.predict_rewards(states), rtol=0, atol=0)
    assert rewards.shape == (ROWS, 4, 3)


def test_observations_are_decoded_in_their_own_units():
    torch.manual_seed(0)
    decoder = ObservationDecoder(6, 3, ("observation.images.a",), hidden_dim=8, channels=1)
    features = torch.randn(2, 4, 6)
    seen = {
        STATE_KEY: 50 * torch.randn(2, 4, 3),
        "observation.images.a": torch.randint(256, (2, 4, 3, 64, 64), dtype=torch.uint8),
    }
    decoded, losses = decoder(features), decoder.losses(features, seen)
    picture = decoder.raw(features)["observation.images.a"]
    torch.testing.assert_close(decoded["observation.images.a"], (picture + 0.5).clamp(0, 1))
    exact = (symlog(decoded[STATE_KEY]).double() - symlog(seen[STATE_KEY]).double()).square().sum(dim=-1)
    torch.testing.assert_close(losses[STATE_KEY].double(), exact, rtol=1e-4, atol=1e-4)
    target = seen["observation.images.a"].double() / 255 - 0.5
    exact = (picture.double() - target).square().flatten(2).sum(dim=-1)
    torch.testing.assert_close(losses["observation.images.a"].double(), exact, rtol=1e-5, atol=1e-3)


def pictured(side: int) -> Context:
    pictures = Track.of(torch.zeros(1, 1, 3, side, side), (0,))
    return Context({}, {CAMERA: pictures}, (Task("", BODY),), torch.ones(1, dtype=torch.bool))


def test_observations_that_do_not_fit_are_told_in_one_line():
    model, seen = world(), context(torch.zeros(ROWS, 3), torch.zeros(ROWS, 2))
    with pytest.raises(ValueError, match=r"the observation is a Tensor; give a Context of tempovla.timeline"):
        model.encode(torch.zeros(ROWS, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the observation is a dict; give a Context"):
        model.encode({STATE_KEY: torch.zeros(ROWS, 3)})  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"lacks 'observation.state', which the world model reads; it holds \[.*rgb'\]"
    ):
        model.encode(pictured(64))
    with pytest.raises(ValueError, match=r"'observation.state' has the shape \(4,\) a step, but .* \(3,\); give it in"):
        model.encode(context(torch.zeros(ROWS, 4), torch.zeros(ROWS, 2)))
    with pytest.raises(ValueError, match="previous has 1 rows, but the observation has 3; give as many"):
        model.encode(seen, model.initial_state(1))
    seer = RSSM(8, 2, 12, **SMALL).eval()
    assert seer.encode(pictured(64)).batch_size == 1
    with pytest.raises(ValueError, match=r"'observation.images.agentview_rgb' has the shape \(3, 128, 128\) a step"):
        seer.encode(pictured(128))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((ROWS, 4, 5, 1), r"actions \(3, 4, 5, 1\) must be \(rows, candidates, steps, 2\)"),
        ((ROWS, 2), r"actions \(3, 2\) must be \(rows, candidates, steps, 2\)"),
        ((2, 4, 5, 2), r"actions \(2, 4, 5, 2\) have 2 rows, but the state has 3; give as many"),
        ((ROWS, 4, 0, 2), r"actions \(3, 4, 0, 2\) have no steps; give one at least"),
    ],
)
def test_actions_that_cannot_be_imagined_are_told_in_one_line(shape, message):
    model = world()
    with pytest.raises(ValueError, match=message):
        model.imagine(model.initial_state(ROWS), torch.zeros(shape))
