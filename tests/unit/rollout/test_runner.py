"""Rollouts in the real simulator: episodes do not depend on where they run, and recordings are what happened."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.in_process import simulators_in_process
from tests.unit.rollout.scripted import ACTION, STATE, ScriptedPolicy

from tempovla.timeline import ActionChunk
from tempovla.timeline.keys import DONE_KEY, REWARD_KEY, SUCCESS_KEY
from tempovla.timeline.noise import mix_seed, row_normal

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.expert import rollout_expert  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402
from tempovla.env.metaworld_tasks import INSTRUCTIONS  # noqa: E402
from tempovla.env.vector import ShardedVectorEnv  # noqa: E402
from tempovla.rollout.evaluate import (  # noqa: E402
    EvaluationConfig,
    evaluation_specs,
    run_specs,
    success_rates,
)
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec, RolloutRunner  # noqa: E402

SCRIPTED = ScriptedPolicy()
BLIND = MetaWorldConfig(render=False, max_steps=20)
OPEN: dict[tuple[int, int, MetaWorldConfig], ShardedVectorEnv] = {}
SPECS = [
    EpisodeSpec("reach-v3", seed=5),
    EpisodeSpec("push-v3", seed=6),
    EpisodeSpec("door-open-v3", seed=7),
    EpisodeSpec("push-v3", seed=8),
    EpisodeSpec("reach-v3", seed=9),
]


@pytest.fixture(scope="module", autouse=True)
def environments() -> Iterator[None]:
    """Environments are used again by the next run, as making them takes longer than the episodes."""
    yield
    while OPEN:
        OPEN.popitem()[1].close()


def opened(num_envs: int, workers: int = 1, config: MetaWorldConfig = BLIND) -> ShardedVectorEnv:
    """Environments in several processes, or in this one where a single worker is asked for."""
    key = (num_envs, workers, config)
    if key not in OPEN:
        with simulators_in_process() if workers == 1 else nullcontext():
            OPEN[key] = ShardedVectorEnv(config, num_envs, workers)
    return OPEN[key]


def run(
    specs: Sequence[EpisodeSpec],
    policy: ScriptedPolicy = SCRIPTED,
    *,
    num_envs: int = 3,
    workers: int = 1,
    execution_horizon: int = 6,
    config: MetaWorldConfig = BLIND,
) -> list[EpisodeResult]:
    return RolloutRunner(policy.controller(), opened(num_envs, workers, config), execution_horizon).run(specs)


@pytest.mark.parametrize("history", [(0,), (-3, -1, 0)])
def test_results_do_not_depend_on_the_number_of_environments_and_workers(history):
    """Where windows reach back, every step is seen; else only what decisions are made on. Both must be the same."""
    policy = ScriptedPolicy(history=history)
    recorded = [replace(spec, record=True) for spec in SPECS]
    alone = run(recorded, policy, num_envs=1)
    for num_envs, workers in ((3, 2), (7, 1)):
        together = run(recorded, policy, num_envs=num_envs, workers=workers)
        assert [result.spec for result in together] == recorded
        for ours, expected in zip(together, alone, strict=True):
            assert ours.to_json() == expected.to_json()
            np.testing.assert_array_equal(ours.recording[ACTION], expected.recording[ACTION])
            np.testing.assert_array_equal(ours.recording[STATE], expected.recording[STATE])


def test_noise_follows_the_episodes_seed_wherever_it_runs():
    class Noisy(ScriptedPolicy):
        """Acts on noise alone; its state is (seed, decision), one row each."""

        def initial_state(self, batch_size):
            return torch.zeros(batch_size, 2, dtype=torch.int64)

        def with_seeds(self, state, seed):
            return torch.stack([seed, state[:, 1]], dim=1)

        def act(self, context, state):
            decision = torch.where(context.first, 0, state[:, 1])
            noise = row_normal(mix_seed(state[:, 0], decision), (self.horizon, 4))
            return ActionChunk.of(noise, range(self.horizon)), torch.stack([state[:, 0], decision + 1], dim=1)

    recorded = [replace(spec, record=True) for spec in SPECS]
    alone = run(recorded, Noisy(), num_envs=1)
    for num_envs, workers in ((3, 2), (7, 1)):
        for ours, expected in zip(run(recorded, Noisy(), num_envs=num_envs, workers=workers), alone, strict=True):
            assert ours.to_json() == expected.to_json()
            np.testing.assert_array_equal(ours.recording[ACTION], expected.recording[ACTION])
    first, second = alone[1].recording[ACTION], alone[3].recording[ACTION]  # one task, two seeds
    assert not np.array_equal(first, second)


def test_recording_changes_nothing():
    plain, recorded = run(SPECS), run([replace(spec, record=True) for spec in SPECS])
    assert [result.to_json() for result in plain] == [result.to_json() for result in recorded]
    assert all(result.recording is None and result.final is None for result in plain)


def test_a_recording_played_again_goes_through_the_same_states_and_ends_the_same():
    for result in run([replace(spec, record=True) for spec in SPECS[:3]], execution_horizon=4):
        env = MetaWorldEnv(BLIND)
        observation, _ = env.reset(seed=result.spec.seed, options={"task": result.spec.task})
        rewards, successes, terminated, truncated = [], [], False, False
        assert len(result.recording[ACTION]) == len(result.recording[STATE]) == result.steps
        for state, action in zip(result.recording[STATE], result.recording[ACTION], strict=True):
            assert not terminated
            assert not truncated
            np.testing.assert_array_equal(observation[STATE], state)
            observation, step_reward, terminated, truncated, info = env.step(action)
            rewards.append(step_reward)
            successes.append(info["success"])
        np.testing.assert_array_equal(observation[STATE], result.final[STATE])
        assert sum(rewards) == pytest.approx(result.total_reward)
        assert result.recording[REWARD_KEY].tolist() == [[np.float32(reward)] for reward in rewards]
        assert result.recording[SUCCESS_KEY].tolist() == [[success] for success in successes]
        assert result.recording[DONE_KEY].tolist() == [[False]] * (result.steps - 1) + [[True]]
        assert (info["success"], terminated or truncated) == (result.success, True)


def test_episodes_are_cut_at_the_step_limit_in_the_middle_of_a_chunk():
    (result,) = run([replace(SPECS[0], record=True)], execution_horizon=7, config=replace(BLIND, max_steps=10))
    assert (result.steps, result.success) == (10, False)
    assert len(result.recording[ACTION]) == 10


def test_the_policy_is_asked_again_after_every_execution_horizon():
    asked = []

    class Counting(ScriptedPolicy):
        def act(self, context, state):
            asked.append(context.first.tolist())
            return super().act(context, state)

    run(SPECS[:1], Counting(), num_envs=1, execution_horizon=6)
    assert asked == [[True], [False], [False], [False]]  # 20 steps in chunks of 6


def test_decisions_are_counted_and_timed_and_actions_kept():
    started_s = time.perf_counter()
    (result,) = run(SPECS[:1])
    assert result.policy_calls == 4
    assert 0 < result.policy_s < time.perf_counter() - started_s
    assert result.actions.shape == (20, 4)


def test_the_instruction_told_replaces_the_tasks_own_even_by_nothing():
    told = [EpisodeSpec("push-v3", 3), EpisodeSpec("push-v3", 3, "go away"), EpisodeSpec("push-v3", 3, "")]
    own, other, nothing = run([replace(spec, record=True) for spec in told], num_envs=3)
    assert [own.instruction, other.instruction, nothing.instruction] == [INSTRUCTIONS["push-v3"], "go away", ""]
    np.testing.assert_array_equal(own.recording[STATE][0], other.recording[STATE][0])
    assert not np.array_equal(own.recording[ACTION], other.recording[ACTION])
    assert not np.array_equal(nothing.recording[ACTION], other.recording[ACTION])


def test_success_ends_an_episode_and_counts():
    teacher = MetaWorldEnv(MetaWorldConfig(task="reach-v3", render=False, terminate_on_success=False))
    played = rollout_expert(teacher, seed=5, steps_after_success=0).executed
    actions = torch.from_numpy(np.concatenate([played, np.zeros((8, 4), np.float32)]))

    class Replaying(ScriptedPolicy):
        def act(self, context, state):
            start = int(state[0, 0])
            chunk = actions[start : start + self.horizon].expand(context.batch_size, -1, -1)
            return ActionChunk.of(chunk, range(self.horizon)), state + 6

    config = replace(BLIND, max_steps=len(played) + 2)
    solved, failed = run([EpisodeSpec("reach-v3", 5), EpisodeSpec("push-v3", 5)], Replaying(), config=config)
    assert (solved.success, solved.steps) == (True, len(played))
    assert (failed.success, failed.steps) == (False, len(played) + 2)


def test_results_are_reported_as_they_come_and_returned_as_asked():
    runner = RolloutRunner(ScriptedPolicy().controller(), opened(3), 6)
    reported = []

    def report(result: EpisodeResult) -> EpisodeResult:
        reported.append(result)
        return replace(result, recording=None)

    recorded = [replace(spec, record=True) for spec in SPECS]
    results = runner.run(recorded, report)
    assert [result.spec for result in results] == recorded
    assert all(result.recording is not None for result in reported)
    assert all(result.recording is None for result in results)
    assert sorted(result.spec.seed for result in reported) == [5, 6, 7, 8, 9]
    assert runner.run([]) == []


def test_a_run_that_was_broken_off_leaves_nothing_to_the_next():
    runner = RolloutRunner(ScriptedPolicy().controller(), opened(3), 6)
    expected = [result.to_json() for result in runner.run(SPECS[:3])]

    def give_up(result: EpisodeResult) -> EpisodeResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(SPECS, give_up)
    ended = []

    def count(result: EpisodeResult) -> EpisodeResult:
        ended.append(result.spec)
        return result

    assert [result.to_json() for result in runner.run(SPECS[:3], count)] == expected
    assert sorted(spec.seed for spec in ended) == [5, 6, 7]


def test_impossible_execution_horizons_are_refused():
    with pytest.raises(ValueError, match="execution_horizon=9 exceeds the policy's chunk of 8"):
        run(SPECS[:1], num_envs=1, execution_horizon=9)
    with pytest.raises(ValueError, match="execution_horizon=0 must be at least 1"):
        run(SPECS[:1], num_envs=1, execution_horizon=0)


def test_an_evaluation_is_the_same_episodes_for_everyone_and_counts_by_task():
    config = EvaluationConfig(episodes=2, seed=4, num_envs=3, workers=1, max_steps=8)
    tasks = ["push-v3", "reach-v3"]
    specs = evaluation_specs(tasks, config, {"push-v3": "reach"})
    assert [(spec.task, spec.instruction) for spec in specs] == [("push-v3", "reach")] * 2 + [("reach-v3", None)] * 2
    assert [spec.seed for spec in specs] == [spec.seed for spec in evaluation_specs(tasks, config)]
    assert len({spec.seed for spec in specs}) == 4
    other = evaluation_specs(tasks, replace(config, seed=5))
    assert not {spec.seed for spec in specs} & {spec.seed for spec in other}
    with simulators_in_process():
        results = run_specs(ScriptedPolicy().controller(), specs, BLIND, config)
    assert [result.steps for result in results] == [8] * 4
    rates = success_rates(results)
    assert list(rates) == tasks
    assert [(rate.successes, rate.episodes) for rate in rates.values()] == [(0, 2), (0, 2)]
    with pytest.raises(ValueError, match="num_envs=0 must be at least 1"):
        replace(config, num_envs=0)
