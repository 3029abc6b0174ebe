"""Success rates and mean returns of a controller over fresh episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tempovla.control.controller import Actor
from tempovla.control.execution import check_temporal_ensemble
from tempovla.env.protocol import SimulatorConfig
from tempovla.env.seeding import episode_seed
from tempovla.rollout.metrics import MeanFigure, MeanReturn, SuccessRate
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec, RolloutRunner
from tempovla.timeline.arguments import plain, whole_number


@dataclass(frozen=True)
class EvaluationConfig:
    """How a policy is evaluated.

    Attributes:
        episodes: number of fresh episodes of each task.
        seed: seed of the evaluation. Its episodes never coincide with demonstrations.
        num_envs: number of environments in parallel.
        workers: number of processes that simulate them.
        execution_horizon: number of actions of a chunk that are executed before the next decision. None takes the
            stride of the policy; if it has none, 6 or the whole chunk if it is shorter.
        temporal_ensemble: average what overlapping chunks say about a step, with weights exp(-m i), where i counts from
            0 for the oldest chunk and m is this number (0.01 in ACT). Such a policy decides at every step, unless
            execution_horizon or its stride says otherwise. None executes only the newest chunk.
        max_steps: number of control steps after which an episode counts as failed; None takes the environment's own
            limit.
        disturb_step: number of control steps after which the simulator moves the task's object, in a direction that
            follows from the episode's seed; None leaves it where it is.
        disturb_shift_m: how far it is moved [m]; None moves it by 0.05 where there is a disturb_step.
    """

    episodes: int = 20
    seed: int = 0
    num_envs: int = 20
    workers: int = 2
    execution_horizon: int | None = None
    max_steps: int | None = None
    temporal_ensemble: float | None = None
    disturb_step: int | None = None
    disturb_shift_m: float | None = None

    def __post_init__(self) -> None:
        check_temporal_ensemble(self.temporal_ensemble)
        for name in ("episodes", "num_envs", "workers", "execution_horizon", "max_steps"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value, least=1))
        object.__setattr__(self, "seed", whole_number("seed", self.seed))
        if self.disturb_step is not None:
            object.__setattr__(self, "disturb_step", whole_number("disturb_step", self.disturb_step, least=0))
        elif self.disturb_shift_m is not None:
            raise ValueError(
                f"disturb_shift_m={self.disturb_shift_m} moves nothing without disturb_step; give the control step "
                "after which the object is moved, such as disturb_step=20, or leave both out"
            )
        object.__setattr__(self, "disturb_shift_m", plain(self.disturb_shift_m))
        object.__setattr__(self, "temporal_ensemble", plain(self.temporal_ensemble))


def evaluation_specs(
    tasks: Sequence[str],
    config: EvaluationConfig,
    instructions: Mapping[str, str] | None = None,
    *,
    fixed_states: bool = False,
) -> list[EpisodeSpec]:
    """Return the episodes of an evaluation, task by task; they are the same for every policy with this seed.

    Args:
        tasks: names of the tasks.
        config: number of episodes and seed.
        instructions: by task, an instruction that replaces the task's own.
        fixed_states: begin episode i at the benchmark's i-th initial state, instead of one that the seed draws.
    """
    return [
        EpisodeSpec(
            task,
            episode_seed("evaluate", config.seed, task, episode),
            (instructions or {}).get(task),
            init_state=episode if fixed_states else None,
        )
        for task in tasks
        for episode in range(config.episodes)
    ]


def run_specs(
    controller: Actor,
    specs: Sequence[EpisodeSpec],
    env_config: SimulatorConfig,
    config: EvaluationConfig,
    on_end: Callable[[EpisodeResult], EpisodeResult] = lambda result: result,
) -> list[EpisodeResult]:
    """Make environments, run the episodes in them, and return the results; see `RolloutRunner.run`."""
    from tempovla.env.vector import ShardedVectorEnv  # needs the extra `sim`, as nothing else here does

    env_config = replace(env_config, task=specs[0].task, max_steps=config.max_steps or env_config.max_steps)
    env = ShardedVectorEnv(env_config, min(config.num_envs, len(specs)), config.workers)
    try:
        runner = RolloutRunner(controller, env, config.execution_horizon, config.temporal_ensemble)
        return runner.run(specs, on_end)
    finally:
        env.close()


def success_rates(results: Sequence[EpisodeResult]) -> dict[str, SuccessRate]:
    """Return the success rate of every task."""
    tasks = dict.fromkeys(result.spec.task for result in results)
    return {task: SuccessRate.of([r.success for r in results if r.spec.task == task]) for task in tasks}


def solved_at_once(results: Sequence[EpisodeResult]) -> dict[str, int]:
    """Return how many episodes of every task the simulator called solved after the first control step already.

    Episodes that go on after their success are not among them, because a result does not say when they succeeded.
    """
    found = dict.fromkeys((result.spec.task for result in results), 0)
    for result in results:
        found[result.spec.task] += result.success and result.steps <= 1
    return found


def mean_returns(results: Sequence[EpisodeResult]) -> dict[str, MeanReturn]:
    """Return the mean return of every task."""
    tasks = dict.fromkeys(result.spec.task for result in results)
    return {task: MeanReturn.of([r.total_reward for r in results if r.spec.task == task]) for task in tasks}


def mean_figures(results: Sequence[EpisodeResult]) -> dict[str, MeanFigure]:
    """Return, by name, the mean of what the simulator measured of every episode; each task counts alike.

    A name that some episodes lack is left out.
    """
    tasks = dict.fromkeys(result.spec.task for result in results)
    names = (
        [name for name in results[0].figures if all(name in result.figures for result in results)] if results else []
    )
    return {
        name: MeanFigure.of(*([r.figures[name] for r in results if r.spec.task == task] for task in tasks))
        for name in names
    }
