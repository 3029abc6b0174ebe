"""Planning with the true simulator: its scores are the rewards that come, and it does better than chance."""

import numpy as np
import pytest
import torch

from tempovla.env.dm_control import DmControlConfig
from tempovla.env.seeding import episode_seed
from tempovla.env.twin import SimulatorTwin
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.recipe.evaluation.true_simulator import SimulatorPlanner, SimulatorScore, play_with_simulator

pytest.importorskip("dm_control")

SHORT = DmControlConfig(task="reacher-easy", render=False, max_steps=12)
SEARCH = PlannerConfig(kind="cem", horizon=4, num_samples=12, num_elites=3, iterations=2, num_policy_samples=0)


def test_the_score_of_the_actions_that_are_done_is_the_return_that_comes():
    env = SHORT.make()
    env.reset_state(seed=5)
    planner = SimulatorPlanner(env, SEARCH, discount=0.9)
    planner.begin(5)
    plan = planner.plan()
    rewards = [env.advance(action)[0] for action in plan.actions[0].numpy()]
    assert float(plan.value) == pytest.approx(float(np.dot(rewards, 0.9 ** np.arange(4))), rel=1e-6)


def test_a_value_counts_behind_the_last_step_unless_the_episode_is_over():
    env = SHORT.make()
    env.reset_state(seed=5)
    twin = SimulatorTwin(env)
    twin.begin(5)
    seen = []

    def value(states: torch.Tensor) -> torch.Tensor:
        seen.append(states)
        return torch.full((len(states),), 7.0)

    candidates = torch.rand(1, 3, 4, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain = SimulatorScore(twin, 0.9)(candidates)
    torch.testing.assert_close(SimulatorScore(twin, 0.9, value)(candidates), plain + 0.9**4 * 7.0)
    assert seen[0].shape == (3, SHORT.embodiment.state_dim)
    to_the_end = candidates.repeat(1, 1, 3, 1)
    torch.testing.assert_close(SimulatorScore(twin, 0.9, value)(to_the_end), SimulatorScore(twin, 0.9)(to_the_end))


def test_episodes_are_those_of_an_evaluation_and_repeat():
    first = play_with_simulator(SHORT, SEARCH, 2, seed=1)
    again = play_with_simulator(SHORT, SEARCH, 2, seed=1)
    assert [each.seed for each in first] == [episode_seed("evaluate", 1, "reacher-easy", number) for number in (0, 1)]
    assert [each.total_reward for each in first] == [each.total_reward for each in again]
    assert [each.steps for each in first] == [12, 12]


def test_it_balances_where_chance_does_not():
    config = DmControlConfig(task="cartpole-swingup", render=False, max_steps=24)
    planner = PlannerConfig(kind="cem", horizon=10, num_samples=16, num_elites=4, iterations=2, num_policy_samples=0)
    found = play_with_simulator(config, planner, 1)[0].total_reward
    env = config.make()
    env.reset_state(seed=episode_seed("evaluate", 0, "cartpole-swingup", 0))
    drawn = np.random.default_rng(0)
    chance = sum(env.advance(drawn.uniform(-1.0, 1.0, 1))[0] for _ in range(24))
    assert found > chance


@pytest.mark.parametrize("rows", [0, 2])
def test_a_simulator_plays_one_row(rows):
    env = SHORT.make()
    env.reset_state(seed=5)
    twin = SimulatorTwin(env)
    twin.begin(5)
    with pytest.raises(ValueError, match=f"{rows} rows of candidates: a simulator plays one episode; give one row"):
        SimulatorScore(twin)(torch.zeros(rows, 3, 4, 2))


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match="episodes=0 must be at least 1"):
        play_with_simulator(SHORT, SEARCH, 0)
