"""With temporal ensembling an executed action is the weighted mean of what all chunks said about its step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("gymnasium")

from tests.toy_simulator import LineConfig

from tempovla.control.controller import Controller
from tempovla.control.observations import Reads
from tempovla.control.robot_policy import RobotPolicy
from tempovla.rollout.evaluate import EvaluationConfig, run_specs
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec
from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

BODY = Embodiment("hand", 1, 2, rate_hz=10.0)
WINDOWS = (Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(4))))
SPECS = [EpisodeSpec(task, seed) for seed in range(3) for task in ("left", "right")]


@dataclass
class Swinging:
    """Its chunk follows from what it sees now alone; keeps every chunk that it gave."""

    chunks: list[Tensor] = field(default_factory=list)

    def windows(self) -> tuple[Window, ...]:
        return WINDOWS

    def initial_state(self, batch_size: int) -> None:
        return None

    def act(self, context: Context, state: None) -> tuple[ActionChunk, None]:
        way = torch.tensor([[-1.0 if task.instruction == "go left" else 1.0] for task in context.task])
        value = 0.1 * way + 0.6 * torch.sin(40 * context.now[STATE_KEY].value[:, 0] + 2 * torch.arange(4.0))
        self.chunks.append(torch.stack([value, -value], dim=2))
        return ActionChunk.of(self.chunks[-1], range(4)), state


def run(policy: Swinging, specs: list[EpisodeSpec], num_envs: int, **config) -> list[EpisodeResult]:
    bundle = Bundle("toy", {}, WINDOWS, BODY, {"steps": []}, {})
    controller = Controller(policy, TransformPipeline([]), bundle)
    settings = EvaluationConfig(num_envs=num_envs, workers=1, max_steps=11, **config)
    return run_specs(controller, specs, LineConfig(), settings)


def mean_of(chunks: list[np.ndarray], step: int, horizon: int, decay: float) -> np.ndarray:
    """What the chunks, one every `horizon` steps, say about a step: the oldest with weight 1."""
    said = [
        chunk[step - start]
        for start, chunk in zip(range(0, step + 1, horizon), chunks, strict=False)
        if step - start < 4
    ]
    weights = np.exp(-decay * np.arange(len(said)))
    return (weights[:, None] * np.stack(said)).sum(axis=0) / weights.sum()


@pytest.mark.parametrize(("asked", "horizon", "decay"), [(None, 1, 0.3), (3, 3, 0.3), (None, 1, 0.0)])
def test_every_action_is_the_weighted_mean_computed_by_hand(asked, horizon, decay):
    policy = Swinging()
    (result,) = run(policy, SPECS[:1], 1, execution_horizon=asked, temporal_ensemble=decay)
    assert (result.steps, result.policy_calls) == (11, -(-11 // horizon))
    chunks = [chunk[0].numpy() for chunk in policy.chunks]
    expected = [mean_of(chunks, step, horizon, decay) for step in range(11)]
    np.testing.assert_allclose(result.actions, expected, rtol=1e-5, atol=1e-6)
    assert (
        np.abs(result.actions - np.stack([chunks[step // horizon][step % horizon] for step in range(11)])).max() > 0.1
    )


@pytest.mark.parametrize("horizon", [1, 2])
def test_an_episode_has_nothing_of_the_one_before_it_in_its_row_or_of_its_neighbours(horizon):
    alone = [run(Swinging(), [spec], 1, execution_horizon=horizon, temporal_ensemble=0.1)[0] for spec in SPECS]
    for num_envs in (1, 4):
        together = run(Swinging(), SPECS, num_envs, execution_horizon=horizon, temporal_ensemble=0.1)
        for ours, expected in zip(together, alone, strict=True):
            assert ours.to_json() == expected.to_json()
            np.testing.assert_allclose(ours.actions, expected.actions, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("horizon", "decay"), [(1, 0.3), (3, 0.3), (3, None)])
def test_an_evaluation_plays_what_a_control_loop_plays(horizon, decay):
    (result,) = run(Swinging(), SPECS[:1], 1, execution_horizon=horizon, temporal_ensemble=decay)
    controller = Controller(Swinging(), TransformPipeline([]), Bundle("toy", {}, WINDOWS, BODY, {"steps": []}, {}))
    reads = Reads(frozenset({STATE_KEY}), (STATE_KEY,), BODY)
    policy = RobotPolicy(controller, reads, execution_horizon=horizon, ensemble=decay)
    env = LineConfig().make()
    observation, _ = env.reset(seed=SPECS[0].seed, options={"task": SPECS[0].task})
    for action in result.actions:
        ours = policy.step({**observation, "task": env.instruction})
        np.testing.assert_array_equal(ours, action)
        env.advance(ours)
        observation = env.observe()


def test_without_it_the_newest_chunk_alone_is_executed_to_the_bit():
    policy = Swinging()
    (result,) = run(policy, SPECS[:1], 1, execution_horizon=2)
    expected = torch.cat([chunk[0, :2] for chunk in policy.chunks])[: result.steps]
    assert result.actions.tobytes() == expected.numpy().tobytes()


def test_a_decay_below_zero_is_refused_with_the_settings():
    with pytest.raises(ValueError, match="temporal_ensemble=-1"):
        EvaluationConfig(temporal_ensemble=-1)
