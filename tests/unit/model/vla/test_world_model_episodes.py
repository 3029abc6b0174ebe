"""What world models learn from episodes of any length: of the last action, which an end may cut short, and of few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tempovla.data.replay import ReplaySource
from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.model.world_model.rssm_loss import Sequences
from tempovla.objective.objective import reduce_term
from tempovla.timeline import Embodiment, StreamInfo, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY, TERMINATED_KEY

BODY = Embodiment("toy", 3, 2, 10.0)
STREAMS = {
    STATE_KEY: StreamInfo("state", (3,), "float32", 10.0),
    ACTION_KEY: StreamInfo("action", (2,), "float32", 10.0),
    REWARD_KEY: StreamInfo("scalar", (1,), "float32", 10.0),
    TERMINATED_KEY: StreamInfo("scalar", (1,), "bool", 10.0),
}
BOTH = pytest.mark.parametrize("algorithm", ["tdmpc", "dreamer"])


def policy_of(algorithm: str, repeat: int = 1, steps: int = 3) -> WorldModelPolicy:
    """A policy with random weights that learns from so many actions at once; other `steps` change no weight."""
    dynamics = LatentDynamicsConfig(
        latent_dim=8,
        group_dim=4,
        encoder_dim=8,
        hidden_dim=8,
        num_values=2,
        dropout=0.0,
        bins=11,
        predicts_end=True,
        normalize_state=True,
    )
    sizes = {"state_dim": 8, "hidden_dim": 8, "variables": 3, "classes": 4, "num_layers": 1, "bins": 11}
    dreamer = DreamerConfig(RSSMConfig(**sizes), sequence_length=steps, horizon=2, hidden_dim=8, num_layers=1)
    torch.manual_seed(0)
    made = WorldModelPolicy(
        WorldModelConfig(
            algorithm,
            robot_state_dim=3,
            action_dim=2,
            action_repeat=repeat,
            planner=PlannerConfig(num_samples=8, num_elites=4, iterations=1, num_policy_samples=0),
            tdmpc=TDMPCConfig(horizon=steps, dynamics=dynamics),
            dreamer=dreamer,
        )
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def replay_of(folder: Path, lengths: tuple[int, ...], repeat: int) -> ReplaySource:
    """Episodes that end with the world, of actions that are done `repeat` times; step t of episode e is worth e + t."""
    generator = np.random.default_rng(0)
    replay = ReplaySource.create(folder, STREAMS, 10.0, BODY, {})
    for episode, length in enumerate(lengths):
        actions = generator.uniform(-1, 1, (length, 2)).astype(np.float32).repeat(repeat, axis=0)
        steps = np.arange(length)[:, None]
        frames = {
            STATE_KEY: generator.normal(size=(length, 3)).astype(np.float32),
            ACTION_KEY: actions[:length],
            REWARD_KEY: (episode + steps).astype(np.float32),
            TERMINATED_KEY: steps == length - 1,
        }
        replay.append(frames, "go")
    return replay


def drawn(replay: ReplaySource, policy: WorldModelPolicy, rows: int) -> tuple[Tensor, TimelineSample]:
    """The episodes and first steps (B, 2) of rows, and the rows."""
    length, stride = policy.agent.sequence_length, policy.config.action_repeat
    sampler = SequenceSampler(replay, policy.training_windows(), batch_size=rows, length=length, seed=0, stride=stride)
    return torch.from_numpy(np.stack(sampler.places(0), axis=1)), sampler.draw(0)


def poisoned(sample: TimelineSample, value: float) -> TimelineSample:
    """The sample with another value wherever it is invalid."""

    def fill(key: str, track: Track) -> Track:
        invalid = ~track.valid[..., None]
        return track.with_value(track.value.masked_fill(invalid, value if track.value.is_floating_point() else True))

    return sample.map_tracks(fill)


def reduced(policy: WorldModelPolicy, sample: TimelineSample) -> dict[str, Tensor]:
    return {name: reduce_term(name, term).detach() for name, term in policy(sample).items()}


@BOTH
@pytest.mark.parametrize("repeat", [1, 2, 3])
def test_the_end_of_every_episode_is_learned_with_all_rewards_of_its_last_action(tmp_path, algorithm, repeat):
    lengths = (1, 2, 5, 6, 7, 8, 11)
    policy = policy_of(algorithm, repeat)
    with replay_of(tmp_path / "replay", lengths, repeat) as replay:
        places, sample = drawn(replay, policy, 300)
    terms = policy(sample)
    shift = 1 if algorithm == "dreamer" else 0  # its terms begin with the step before the first action
    known, told = terms["end_loss"].valid[:, shift:], terms["end_loss"].target[:, shift:]
    ended = known & (told > 0.5 if algorithm == "tdmpc" else told < 0.5)
    assert torch.equal(terms["reward_loss"].valid[:, shift:], known)
    actions = torch.tensor([-(-length // repeat) for length in lengths])[places[:, 0]] - places[:, 1] // repeat
    at_end = torch.arange(3)[None] == actions[:, None] - 1
    assert torch.equal(ended, at_end)
    assert torch.equal(known, torch.arange(3)[None] < actions[:, None])
    assert set(places[at_end.any(dim=1), 0].tolist()) == set(range(len(lengths)))
    if algorithm == "dreamer":
        rewards = Sequences.of(sample, policy.agent.world.encoder, repeat).rewards[:, 1:]
        for row, (episode, first) in enumerate(places.tolist()):
            steps = torch.arange(first, min(lengths[episode], first + 3 * repeat))
            expected = torch.zeros(3).index_add_(0, (steps - first) // repeat, (episode + steps).float())
            assert torch.equal(rewards[row], expected)
    else:
        valued = terms["value_loss"].valid
        assert torch.equal(valued, known)
        values = terms["value"].prediction
        for row, step in at_end.nonzero().tolist():
            episode, first = places[row].tolist()
            steps = range(first + step * repeat, lengths[episode])
            assert float(values[row, step]) == sum(episode + each for each in steps)


@BOTH
@pytest.mark.parametrize("value", [torch.nan, 1e30])
def test_what_lies_beyond_the_end_of_a_cut_action_changes_nothing(tmp_path, algorithm, value):
    policy = policy_of(algorithm, 3).train()
    with replay_of(tmp_path / "replay", (1, 5, 7), 3) as replay:
        _, sample = drawn(replay, policy, 16)
    assert not sample.future[ACTION_KEY].valid.all()
    expected, found = reduced(policy, sample), reduced(policy, poisoned(sample, value))
    assert expected.keys() == found.keys()
    for name, each in expected.items():
        assert torch.equal(found[name], each), name


@BOTH
@pytest.mark.parametrize("repeat", [1, 2])
def test_a_short_episode_teaches_the_same_however_far_its_row_reaches_beyond(tmp_path, algorithm, repeat):
    found = []
    for steps in (3, 6):
        policy = policy_of(algorithm, repeat, steps).train()
        folder = tmp_path / str(steps)
        with replay_of(folder, (2 * repeat - 1,) * 3 + (1,), repeat) as replay:
            places, sample = drawn(replay, policy, 32)
        assert set(places.unique(dim=0)[:, 0].tolist()) == {0, 1, 2, 3}
        assert not places[:, 1].any()
        losses = reduced(policy, sample)
        policy.after_step(1)
        found.append(
            (
                losses,
                dict(policy.named_buffers()),
                dict(policy.agent.slow_critic.named_parameters()) if algorithm == "dreamer" else {},
            )
        )
    (losses, buffers, slow), (other, later, slow_later) = found
    drawn_anew = {"value_loss", "value", "policy_loss", "value_scale"} if algorithm == "tdmpc" else set()
    for name in losses.keys() - drawn_anew:  # a row's normal noise is another one for another number of steps
        torch.testing.assert_close(other[name], losses[name], rtol=1e-5, atol=1e-6)
    for name in buffers.keys() - ({"agent.scale.value"} if drawn_anew else set()):
        torch.testing.assert_close(later[name], buffers[name], rtol=1e-5, atol=1e-6)
    for name in slow:
        assert torch.equal(slow_later[name], slow[name])
