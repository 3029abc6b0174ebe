"""Planning with the true simulator in the world model's place: what the same search could reach at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tempovla.env.protocol import SimulatorConfig, SimulatorEnv
from tempovla.env.seeding import episode_seed
from tempovla.env.twin import SimulatorTwin
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.search import Plan, search, shifted
from tempovla.timeline.noise import mix_seed

Value = Callable[[Tensor], Tensor]
"""From states (N, D) after a plan to the return (N,) that follows."""


class SimulatorScore:
    """A score of candidates by the rewards that the simulator gives for them.

    It stands where `world.predict_return` stands otherwise: actions (1, N, H, A) in [-1, 1] to returns (1, N).

    Args:
        twin: tries the candidates.
        discount: of a step.
        value: of the states that candidates lead to; None counts the rewards alone.
    """

    def __init__(self, twin: SimulatorTwin, discount: float = 1.0, value: Value | None = None) -> None:
        self.twin, self.discount, self.value = twin, discount, value

    def __call__(self, actions: Tensor) -> Tensor:
        """Return the discounted returns (1, N) of candidates (1, N, H, A).

        Raises:
            ValueError: if there is more than one row; a simulator is in one moment.
        """
        if len(actions) != 1:
            raise ValueError(f"{len(actions)} rows of candidates: a simulator plays one episode; give one row")
        trials = [self.twin.attempt(candidate) for candidate in actions[0].double().cpu().numpy()]
        weight = self.discount ** np.arange(actions.shape[2] + 1)
        total = torch.tensor([float(trial.rewards @ weight[:-1]) for trial in trials])
        if self.value is not None:
            after = self.value(torch.tensor(np.stack([trial.state for trial in trials]))).float().cpu()
            goes_on = torch.tensor([not trial.is_over for trial in trials])
            total = total + weight[-1] * torch.where(goes_on, after, 0.0)
        return total[None].float()


class SimulatorPlanner:
    """Chooses actions in an environment by a search in its twin; each search begins where the last one ended.

    Args:
        env: the environment.
        planner: how actions are searched for; there are no proposals of a policy.
        discount: of a step.
        value: see `SimulatorScore`.

    Raises:
        ValueError: if the environment cannot be brought back to a moment.
    """

    def __init__(
        self, env: SimulatorEnv, planner: PlannerConfig, discount: float = 1.0, value: Value | None = None
    ) -> None:
        self.planner = planner
        self._twin = SimulatorTwin(env)
        self._score = SimulatorScore(self._twin, discount, value)
        self._shape = (1, planner.horizon, env.config.embodiment.action_dim)
        self._seed, self._decision, self._mean = 0, 0, torch.zeros(self._shape)

    def begin(self, seed: int) -> None:
        """Begin an episode, with the seed by which the environment was reset."""
        self._twin.begin(seed)
        self._seed, self._decision, self._mean = seed, 0, torch.zeros(self._shape)

    def act(self) -> NDArray[np.float32]:
        """Return the action (A,) to do now; the environment does not notice."""
        return self.plan().actions[0, 0].numpy()

    def plan(self) -> Plan:
        """Return a plan from the environment's present moment."""
        self._twin.look()
        seed = mix_seed(torch.tensor([self._seed]), self._decision)
        found = search(self.planner, self._score, shifted(self._mean), seed)
        self._mean, self._decision = found.mean, self._decision + 1
        return found


@dataclass(frozen=True)
class BoundEpisode:
    """An episode in which the simulator itself was planned with.

    Attributes:
        seed: of the environment.
        steps: control steps.
        total_reward: sum of the rewards.
        success: whether the task was solved at some time.
        plan_cpu_s: processor time of a decision, on average [s].
    """

    seed: int
    steps: int
    total_reward: float
    success: bool
    plan_cpu_s: float


def play_with_simulator(
    simulator: SimulatorConfig,
    planner: PlannerConfig,
    episodes: int,
    *,
    seed: int = 0,
    first: int = 0,
    discount: float = 1.0,
    value: Value | None = None,
) -> list[BoundEpisode]:
    """Play episodes by planning with the true simulator; they are those of an evaluation with the same seed.

    Args:
        simulator: the simulator and its task; nothing is drawn.
        planner: how actions are searched for.
        episodes: number of episodes.
        seed: of the run.
        first: number of the first of these episodes in the evaluation.
        discount: of a step.
        value: of the states (N, D) that candidates lead to, such as a learned one.

    Raises:
        ValueError: if there are no episodes to play, or the simulator cannot be planned with.
    """
    for name, number, least in (("episodes", episodes, 1), ("first", first, 0)):
        if number < least:
            raise ValueError(f"{name}={number} must be at least {least}")
    blind = replace(simulator, render=False) if "render" in simulator.__dataclass_fields__ else simulator
    env = blind.make()
    acts = SimulatorPlanner(env, planner, discount, value)
    numbers = range(first, first + episodes)
    return [_play(env, acts, episode_seed("evaluate", seed, env.task, number)) for number in numbers]


def _play(env: SimulatorEnv, planner: SimulatorPlanner, seed: int) -> BoundEpisode:
    env.reset_state(seed=seed)
    planner.begin(seed)
    steps, total, solved, is_over, spent = 0, 0.0, False, False, 0.0
    while not is_over:
        before = time.process_time()
        action = planner.act()
        spent += time.process_time() - before
        reward, terminated, truncated, info = env.advance(action)
        steps, total = steps + 1, total + reward
        solved, is_over = solved or bool(info.get("success")), terminated or truncated
    return BoundEpisode(seed, steps, total, solved, spent / steps)
