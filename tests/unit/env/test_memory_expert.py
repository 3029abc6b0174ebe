"""Who knows the plan succeeds nearly always; who sees one frame succeeds by chance."""

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.expert import ActionNoise, rollout_expert  # noqa: E402
from tempovla.env.memory import MemoryConfig, MemoryEnv  # noqa: E402
from tempovla.env.memory_expert import GuessingExpert, touch  # noqa: E402
from tempovla.env.memory_tasks import MEMORY_TASKS  # noqa: E402

COLLECTED = ActionNoise(max_sigma=0.5, correlation=0.5)


def guess(env: MemoryEnv, task: str, seed: int) -> bool:
    env.reset_state(seed=seed, task=task)
    expert = GuessingExpert(env, np.random.default_rng([seed, 7]))
    while True:
        _, terminated, truncated, info = env.advance(expert.act())
        if terminated or truncated:
            return info["success"]


def test_comes_down_a_cone() -> None:
    def towards(fingers: tuple[float, float, float]) -> np.ndarray:
        return touch(np.array(fingers), (0.1, 0.6))

    far, near, low = towards((-0.2, 0.6, 0.15)), towards((0.1, 0.6, 0.15)), towards((-0.2, 0.6, 0.02))
    np.testing.assert_allclose(far, [1, 0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(near, [0, 0, -1, -1], atol=1e-6)
    assert low[2] == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", list(MEMORY_TASKS))
def test_experts_succeed_disturbed_and_guesses_by_chance(task: str) -> None:
    short = MemoryConfig(task=task, render=False, cue_steps=2, delay_steps=2)  # nobody here needs to see or to wait
    env = MemoryEnv(replace(short, terminate_on_success=False))
    solved = [rollout_expert(env, seed, noise=COLLECTED, binary_gripper=True).success for seed in range(8)]
    assert sum(solved) >= 7
    env, count = MemoryEnv(short), 24
    chance = MEMORY_TASKS[task].chance
    lucky = sum(guess(env, task, seed) for seed in range(count))
    spread = np.sqrt(chance * (1 - chance) / count)
    assert lucky / count <= chance + 3 * spread
    assert lucky / count >= (chance - 3 * spread if MEMORY_TASKS[task].first_pad_share else 0)
