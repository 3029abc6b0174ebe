"""What policies imagine from a moment on, beside what then came, with the validity of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tiny import FRONT, tiny_statevla_config

from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import JepaConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.temporal_world import TemporalWorld
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.timeline import Context, PredictingPolicy, Prediction, TimelineSample, Track, laws
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, REWARD_KEY, STATE_KEY
from tempovla.timeline.track import concatenate

ROWS, STEPS, CAMERA = 3, 4, "observation.images.top"
SHAPES = {STATE_KEY: (3,), ACTION_KEY: (2,), REWARD_KEY: (1,)}


def made(policy: Any) -> Any:
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return policy.eval()


def dreamer(cameras: tuple[str, ...] = (), repeat: int = 1) -> WorldModelPolicy:
    torch.manual_seed(0)
    sizes = {"state_dim": 8, "hidden_dim": 12, "variables": 4, "classes": 5, "num_layers": 1, "channels": 1}
    learning = DreamerConfig(rssm=RSSMConfig(bins=11, **sizes), sequence_length=5, hidden_dim=8, num_layers=1)
    seen = {"robot_state_dim": 3, "action_dim": 2, "action_repeat": repeat, "cameras": cameras}
    return made(WorldModelPolicy(WorldModelConfig(algorithm="dreamer", dreamer=learning, **seen)))


def tdmpc(repeat: int = 1) -> WorldModelPolicy:
    torch.manual_seed(0)
    sizes = {"latent_dim": 16, "group_dim": 4, "encoder_dim": 8, "hidden_dim": 12, "num_values": 2, "bins": 11}
    learning = TDMPCConfig(dynamics=LatentDynamicsConfig(**sizes))
    return made(WorldModelPolicy(robot_state_dim=3, action_dim=2, action_repeat=repeat, tdmpc=learning))


def statevla(stride: int = 2) -> StateVLA:
    torch.manual_seed(0)
    jepa = JepaConfig(prediction_horizon=stride, temporal_predictor_hidden_dim=8)
    sizes = {"cameras": (FRONT,), "action_dim": 2, "has_gripper": False, "jepa": jepa}
    return made(StateVLA(tiny_statevla_config(**sizes)))


def sample_of(policy: PredictingPolicy, horizon: int = STEPS, **shapes: tuple[int, ...]) -> TimelineSample:
    return laws.random_sample(policy.prediction_windows(horizon), SHAPES | shapes, rows=ROWS)


def predicted(policy: PredictingPolicy, sample: TimelineSample) -> Mapping[str, Prediction]:
    with torch.no_grad():
        return policy.predict(sample)


def statevla_sample(policy: StateVLA, horizon: int) -> TimelineSample:
    shapes = {STATE_KEY: (3,), ACTION_KEY: (2,), FRONT: (3, 16, 16), LANGUAGE_KEY: (8,)}
    return laws.random_sample(policy.prediction_windows(horizon), shapes, rows=ROWS)


def test_dreamer_imagines_what_its_prior_says_where_nothing_is_seen():
    policy = dreamer((CAMERA,))
    world = policy.agent.world
    sample = sample_of(policy, **{CAMERA: (3, 64, 64)})
    found = predicted(policy, sample)
    tracks = {key: concatenate(sample.context.track(key), sample.future[key]) for key in (STATE_KEY, CAMERA)}
    seen = tracks[STATE_KEY].valid & (tracks[STATE_KEY].offset <= 0)
    done = torch.cat([sample.context.past[ACTION_KEY].value, sample.future[ACTION_KEY].value], dim=1)
    actions = torch.cat([torch.zeros(ROWS, 1, 2), done], dim=1)
    first = torch.zeros_like(seen)
    first[:, 0] = True
    with torch.no_grad():
        observed = world.observe({key: track.value for key, track in tracks.items()}, seen, actions, first)
        features = observed.states.features[:, -STEPS:]
        decoded = world.decoder(features)
        rewards = world.reward_head(features)
    assert {key: each.kind for key, each in found.items()} == {
        STATE_KEY: "state",
        CAMERA: "picture",
        REWARD_KEY: "reward",
    }
    torch.testing.assert_close(found[STATE_KEY].value, decoded[STATE_KEY])
    torch.testing.assert_close(found[CAMERA].value, decoded[CAMERA])
    torch.testing.assert_close(found[REWARD_KEY].value, rewards)
    torch.testing.assert_close(found[CAMERA].target, sample.future[CAMERA].value.float() / 255.0)
    assert bool(found[CAMERA].valid.all())


def test_dreamer_starts_from_what_it_remembers_when_it_acts():
    policy = dreamer()
    sample = sample_of(policy)
    state, world = None, policy.agent.world
    for offset in range(-5, 1):
        past = {} if offset == -5 else {ACTION_KEY: _at(sample.context.past[ACTION_KEY], offset - 1, -1)}
        now = {STATE_KEY: _at(sample.context.track(STATE_KEY), offset, 0)}
        state = world.encode(Context(past, now, sample.context.task, torch.full((ROWS,), offset == -5)), state)
    with torch.no_grad():
        wanted = world.decoder(world.imagine(state, sample.future[ACTION_KEY].value).features)[STATE_KEY]
    torch.testing.assert_close(predicted(policy, sample)[STATE_KEY].value, wanted)


def _at(track: Track, offset: int, moved: int) -> Track:
    value, valid = track.at(offset)
    return Track.of(value[:, None], (moved,), valid[:, None])


def test_what_lies_before_an_episode_leaves_no_trace_in_dreamers_memory():
    """The steps before the first one are clamped and invalid; a row that really begins there predicts the same."""
    policy = dreamer()
    sample = sample_of(policy)
    past = {key: replace(track, valid=track.valid & (track.offset >= -2)) for key, track in sample.context.past.items()}
    begins = replace(sample, context=replace(sample.context, past=past))
    other = {key: track.map(lambda x: x + 100.0) for key, track in past.items()}
    mixed = {
        key: track.with_value(torch.where(track.valid[..., None], track.value, other[key].value))
        for key, track in past.items()
    }
    changed = replace(sample, context=replace(sample.context, past=mixed))
    one, two = predicted(policy, begins)[STATE_KEY], predicted(policy, changed)[STATE_KEY]
    torch.testing.assert_close(one.value, two.value, rtol=0, atol=0)
    assert not torch.equal(one.value, predicted(policy, sample)[STATE_KEY].value)


def test_tdmpc_compares_its_imagination_with_its_own_encoding():
    policy = tdmpc()
    sample, world = sample_of(policy), policy.agent.world
    found = predicted(policy, sample)
    actions = sample.future[ACTION_KEY].value
    with torch.no_grad():
        z = world.encode(sample.context)
        states = world.imagine(z, actions[:, None])
        rewards = world.predict_rewards(z, actions[:, None], states)
    latent = found["latent"]
    torch.testing.assert_close(latent.value, states[:, 0])
    torch.testing.assert_close(latent.now, z)
    torch.testing.assert_close(latent.target[:, 2], world.encode_at(sample.future, 3)[0])
    torch.testing.assert_close(latent.before, world.encode_at(sample.context.past, -1)[0])
    torch.testing.assert_close(found[REWARD_KEY].value, rewards[:, 0])


@pytest.mark.parametrize("policy", [tdmpc(2), dreamer(repeat=2)], ids=["tdmpc", "dreamer"])
def test_an_action_that_is_repeated_is_one_step_whose_rewards_add_up(policy):
    sample = sample_of(policy, 6)
    found = predicted(policy, sample)
    assert policy.prediction_stride == 2
    assert {each.value.shape[1] for each in found.values()} == {3}
    rewards = sample.future[REWARD_KEY].value[..., 0]
    torch.testing.assert_close(found[REWARD_KEY].target, rewards.unflatten(1, (3, 2)).sum(dim=2))
    last = sample.context.past[REWARD_KEY].value[..., 0].sum(dim=1)
    torch.testing.assert_close(found[REWARD_KEY].now, last)


def test_statevla_predicts_in_multiples_of_k():
    policy = statevla(stride=2)
    offsets = {window.key: window.offsets for window in policy.prediction_windows(6)}
    assert offsets[STATE_KEY] == offsets[FRONT] == (-2, 0, 2, 4, 6)
    sample = statevla_sample(policy, 6)
    latent = predicted(policy, sample)["latent"]
    world = TemporalWorld(policy)
    with torch.no_grad():
        wanted = world.imagine(world.encode(sample.context), sample.future[ACTION_KEY].value[:, None])[:, 0]
    torch.testing.assert_close(latent.value, wanted)
    assert latent.value.shape == latent.target.shape == (ROWS, 3, 8)


def test_statevla_compares_with_its_encoding_of_what_came():
    policy = statevla(stride=2)
    sample = statevla_sample(policy, 4)
    latent = predicted(policy, sample)["latent"]
    now = {key: _at(sample.future[key], 4, 0) for key in (STATE_KEY, FRONT)}
    later = replace(sample.context, now=now | {LANGUAGE_KEY: sample.context.now[LANGUAGE_KEY]}, past={})
    with torch.no_grad():
        torch.testing.assert_close(latent.target[:, 1], policy.encode(later)[0])


@pytest.mark.parametrize("kind", ["tdmpc", "dreamer", "statevla"])
def test_what_is_invalid_counts_for_nothing_and_changes_nothing(kind):
    policy = {"tdmpc": tdmpc, "dreamer": dreamer, "statevla": lambda: statevla(stride=1)}[kind]()
    sample = statevla_sample(policy, STEPS) if kind == "statevla" else sample_of(policy)
    future = dict(sample.future)
    future[ACTION_KEY] = _without(future[ACTION_KEY], row=0, offset=2)  # so that steps 3 and 4 are unknown
    future[STATE_KEY] = _without(future[STATE_KEY], row=1, offset=2)
    past = dict(sample.context.past) | {STATE_KEY: _without(sample.context.past[STATE_KEY], row=2, offset=-1)}
    holes = replace(sample, future=future, context=replace(sample.context, past=past))
    key = STATE_KEY if kind == "dreamer" else "latent"
    found = predicted(policy, holes)[key]
    assert found.valid.tolist() == [[True, True, False, False], [True, False, True, True], [True] * 4]
    assert found.has_before.tolist() == [True, True, False]
    garbage = replace(
        holes,
        future={name: _with_garbage(track) for name, track in future.items()},
        context=replace(holes.context, past={name: _with_garbage(track) for name, track in past.items()}),
    )
    other = predicted(policy, garbage)[key]
    assert torch.equal(other.valid, found.valid)
    for one, two in ((found.value, other.value), (found.target, other.target)):
        torch.testing.assert_close(one[found.valid], two[found.valid], rtol=0, atol=0)


def _without(track: Track, row: int, offset: int) -> Track:
    valid = track.valid.clone()
    valid[row, track.offset.tolist().index(offset)] = False
    return replace(track, valid=valid)


def _with_garbage(track: Track) -> Track:
    if not track.value.is_floating_point():
        return track
    return track.with_value(track.value.masked_fill(~track.valid[..., None], torch.nan))


def test_without_rewards_there_is_no_prediction_of_them():
    policy = tdmpc()
    sample = sample_of(policy)
    bare = {key: track for key, track in sample.future.items() if key != REWARD_KEY}
    assert predicted(policy, replace(sample, future=bare)).keys() == {"latent"}
