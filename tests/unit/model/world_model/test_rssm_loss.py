"""What a recurrent state-space model learns from sequences, against a computation in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.world_model.rssm import RSSM
from tempovla.model.world_model.rssm_loss import RSSMWeights, Sequences, rssm_terms
from tempovla.objective.objective import reduce_term
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY, TERMINATED_KEY

ROWS, ACTIONS, BODY = 4, 5, Embodiment("toy", 3, 2, 10.0)


def world(**options) -> RSSM:
    torch.manual_seed(0)
    sizes = {"variables": 4, "classes": 5, "channels": 1, "bins": 11, "symlog_range": 2.0, "num_layers": 1}
    made = RSSM(8, 2, 12, robot_state_dim=3, cameras=(), **{**sizes, **options})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def sample(end: int | None = None) -> TimelineSample:
    """Six observations and the five actions between them; in row 0 the episode ends with action `end`."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.ones(ROWS, ACTIONS + 1, dtype=torch.bool)
    done = torch.ones(ROWS, ACTIONS, dtype=torch.bool)
    ended = torch.zeros(ROWS, ACTIONS, 1, dtype=torch.bool)
    if end is not None:
        seen[0, end + 1 :], done[0, end + 1 :], ended[0, end] = False, False, True
    states = torch.randn(ROWS, ACTIONS + 1, 3, generator=generator)
    steps = range(ACTIONS)
    future = {
        STATE_KEY: Track.of(states[:, 1:], range(1, ACTIONS + 1), seen[:, 1:]),
        ACTION_KEY: Track.of(torch.rand(ROWS, ACTIONS, 2, generator=generator) * 2 - 1, steps, done),
        REWARD_KEY: Track.of(torch.rand(ROWS, ACTIONS, 1, generator=generator), steps, done),
        TERMINATED_KEY: Track.of(ended, steps, done),
    }
    now = {STATE_KEY: Track.of(states[:, :1], (0,))}
    first = torch.ones(ROWS, dtype=torch.bool)
    return TimelineSample(Context({}, now, (Task("", BODY),) * ROWS, first), future, torch.arange(ROWS))


def losses(model: RSSM, given: TimelineSample) -> dict[str, float]:
    sequences = Sequences.of(given, model.encoder)
    noise = model.latent.noise(given.seed, (ACTIONS + 1,))
    observed = model.observe(sequences.values, sequences.seen, sequences.actions, sequences.first, noise)
    terms = rssm_terms(model, observed, sequences, RSSMWeights())
    return {name: float(reduce_term(name, term).detach()) for name, term in terms.items()}


def test_a_step_holds_the_action_that_led_to_it_and_what_came_of_that():
    given = sample(end=2)
    sequences = Sequences.of(given, world().encoder)
    torch.testing.assert_close(sequences.actions[1, 1:], given.future[ACTION_KEY].value[1])
    torch.testing.assert_close(sequences.rewards[1, 1:], given.future[REWARD_KEY].value[1, :, 0])
    assert sequences.first[0].tolist() == [True, False, False, False, True, True]
    assert sequences.seen[0].tolist() == [True, True, True, False, False, False]
    assert sequences.rewarded[0].tolist() == [False, True, True, True, False, False]
    assert sequences.ended[0].tolist() == [False, False, False, True, False, False]
    assert not sequences.actions[0, 4:].any()


def test_an_action_may_last_for_several_steps_whose_rewards_are_one():
    given = sample(end=2)
    states = given.future[STATE_KEY]
    future = {
        **{key: track.select(track.offset < 4) for key, track in given.future.items()},
        STATE_KEY: states.select(torch.tensor([False, True, False, True, False])),
    }
    actions = future[ACTION_KEY]
    future[ACTION_KEY] = replace(actions, value=actions.value[:, ::2].repeat_interleave(2, dim=1))
    sequences = Sequences.of(replace(given, future=future), world().encoder, repeat=2)
    torch.testing.assert_close(sequences.values[STATE_KEY][1, 1:], states.value[1, 1:4:2])
    torch.testing.assert_close(sequences.actions[1, 1:], given.future[ACTION_KEY].value[1, :4:2])
    rewards = given.future[REWARD_KEY].value[1, :4, 0]
    torch.testing.assert_close(
        sequences.rewards[1], torch.stack([rewards[0] * 0, rewards[:2].sum(), rewards[2:].sum()])
    )
    assert sequences.first[0].tolist() == [True, False, False]  # the end cuts its second action short
    assert sequences.rewards[0, 2] == given.future[REWARD_KEY].value[0, 2, 0]
    assert sequences.ended[0].tolist() == [False, False, True]
    assert sequences.rewarded[0].tolist() == sequences.end_known[0].tolist() == [False, True, True]
    assert sequences.seen[0].tolist() == [True, True, False]
    gap = future[ACTION_KEY].valid.clone()
    gap[1, 3] = False  # while the reward of that step is known
    future[ACTION_KEY] = replace(future[ACTION_KEY], valid=gap)
    sequences = Sequences.of(replace(given, future=future), world().encoder, repeat=2)
    assert sequences.first[:2].tolist() == [[True, False, False], [True, False, True]]
    assert sequences.rewarded[:2].tolist() == [[False, True, True], [False, True, False]]


@torch.no_grad()
@pytest.mark.parametrize("reward_loss", ["two_hot", "mse"])
def test_every_term_is_that_of_float64(reward_loss):
    free = {"two_hot": 1.9, "mse": 0.855}[reward_loss]  # between the divergences
    model, given = world(reward_loss=reward_loss, free_nats=free), sample(end=2)
    sequences = Sequences.of(given, model.encoder)
    noise = model.latent.noise(given.seed, (ACTIONS + 1,))
    observed = model.observe(sequences.values, sequences.seen, sequences.actions, sequences.first, noise)
    seen = sequences.seen.numpy()

    shares = []
    for raw in (observed.posterior, observed.prior):
        weight = np.exp(raw.double().numpy().reshape(ROWS, ACTIONS + 1, 4, 5))
        shares.append(0.99 * weight / weight.sum(axis=-1, keepdims=True) + 0.01 / 5)
    kl = (shares[0] * np.log(shares[0] / shares[1])).sum(axis=(2, 3))[seen]
    assert (kl < free).any()
    assert (kl > free).any()

    features = observed.states.features.double()
    exact = world(reward_loss=reward_loss).double()
    state = sequences.values[STATE_KEY].double()
    apart = exact.decoder.state(features) - torch.sign(state) * torch.log1p(state.abs())
    raw = exact.reward_head.mlp(features)
    rewards = sequences.rewards.double()
    if reward_loss == "mse":
        reward = (raw[..., 0] - rewards).square()
    else:
        place = (torch.log1p(rewards) + 2.0) / 0.4
        low = place.floor().long()
        share = raw.log_softmax(dim=-1)
        part = place - low
        pick = [share.gather(-1, (low + k)[..., None])[..., 0] for k in (0, 1)]
        reward = -((1.0 - part) * pick[0] + part * pick[1])
    logits = exact.continue_head.logits(features).numpy()
    going = np.where(sequences.ended.numpy(), -logits, logits)
    known = sequences.end_known.numpy()

    found = losses(model, given)
    assert found["dynamics_loss"] == pytest.approx(np.maximum(kl, free).mean(), rel=1e-5)
    assert found["representation_loss"] == found["dynamics_loss"]
    assert found["divergence"] == pytest.approx(kl.mean(), rel=1e-5)
    assert found["state_loss"] == pytest.approx(float(apart.square().sum(dim=-1)[sequences.seen].mean()), rel=1e-5)
    assert found["reward_loss"] == pytest.approx(float(reward[sequences.rewarded].mean()), rel=1e-4)
    assert found["end_loss"] == pytest.approx(np.log1p(np.exp(-going))[known].mean(), rel=1e-5)


def test_what_lies_beyond_an_end_changes_nothing():
    model, given = world(), sample(end=2)
    expected = losses(model, given)
    for fill in (torch.nan, 1e30, 0.0):

        def filled(key: str, track: Track, fill: float = fill) -> Track:
            if track.value.dtype == torch.bool:
                return replace(track, value=torch.where(track.valid[..., None], track.value, fill > 0))
            return replace(track, value=torch.where(track.valid[..., None], track.value, fill))

        assert losses(model, given.map_tracks(filled)) == expected


def test_the_last_action_of_an_episode_teaches_reward_and_end_although_nothing_is_seen_behind_it():
    model, given = world(), sample(end=2)
    sequences = Sequences.of(given, model.encoder)
    noise = model.latent.noise(given.seed, (ACTIONS + 1,))
    observed = model.observe(sequences.values, sequences.seen, sequences.actions, sequences.first, noise)
    terms = rssm_terms(model, observed, sequences, RSSMWeights())
    assert terms["reward_loss"].valid[0].tolist() == [False, True, True, True, False, False]
    assert terms["end_loss"].valid[0].tolist() == [False, True, True, True, False, False]
    assert terms["end_loss"].target[0, 1:4].tolist() == [1.0, 1.0, 0.0]
    assert terms["state_loss"].valid[0].tolist() == [True, True, True, False, False, False]
    imagined = model.imagine(
        map_tensors(lambda x: x[:, 2], observed.states),
        sequences.actions[:, 3:4],
        noise[:, 3:4],
    )
    torch.testing.assert_close(observed.states.features[0, 3], imagined.features[0, 0])


def test_weights_are_those_of_dreamer():
    model, given = world(), sample()
    sequences = Sequences.of(given, model.encoder)
    observed = model.observe(sequences.values, sequences.seen, sequences.actions, sequences.first)
    terms = rssm_terms(model, observed, sequences, RSSMWeights())
    assert {name: term.weight for name, term in terms.items() if name != "divergence"} == {
        "state_loss": 1.0,
        "reward_loss": 1.0,
        "end_loss": 1.0,
        "dynamics_loss": 1.0,
        "representation_loss": 0.1,
    }
