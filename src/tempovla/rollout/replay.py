"""Replays episodes from their actions, for recording, without the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tempovla.env.protocol import SimulatorConfig
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.outcomes import outcomes


def replay(results: Sequence[EpisodeResult], env_config: SimulatorConfig, workers: int) -> Iterator[EpisodeResult]:
    """Yield the results with their recordings, in order; at most `workers` of them are in memory at a time.

    Args:
        results: of episodes whose actions were kept.
        env_config: of the environments in which they were played.
        workers: processes that simulate.
    """
    for start in range(0, len(results), workers):
        yield from _replay_together(results[start : start + workers], env_config)


def _replay_together(results: Sequence[EpisodeResult], env_config: SimulatorConfig) -> Iterator[EpisodeResult]:
    from tempovla.env.vector import ShardedVectorEnv  # needs the extra `sim`, as nothing else here does

    specs = [result.spec for result in results]
    actions = [result.actions for result in results if result.actions is not None]
    assert len(actions) == len(results), "actions were not kept"
    steps = np.array([len(done) for done in actions])
    padded = np.zeros((len(results), steps.max(), actions[0].shape[1]), np.float32)
    for row, done in enumerate(actions):
        padded[row, : steps[row]] = done
    env = ShardedVectorEnv(replace(env_config, task=specs[0].task), len(results), len(results))
    try:
        first, info = env.reset(
            seed=[spec.seed for spec in specs],
            options={"task": [spec.task for spec in specs], "init_state": [spec.init_state for spec in specs]},
        )
        played = env.step_chunk(padded, np.arange(padded.shape[1]) < steps[:, None], record=range(len(results)))
    finally:
        env.close()
    for row, result in enumerate(results):
        after = played.frames[row]
        recording = {key: np.concatenate([first[key][row : row + 1], after[key][:-1]]) for key in after}
        final = {key: value[-1] for key, value in after.items()}
        recording |= {ACTION_KEY: padded[row, : steps[row]]}
        recording |= outcomes(
            played.step_rewards[row],
            played.step_successes[row],
            world_ended=played.world_ended(row, env_config),
        )
        fixed = result.spec.instruction
        told = (str(info["instruction"][row]), *played.step_instructions[row][:-1])
        told = told if fixed is None else (fixed,) * len(told)
        yield replace(result, recording=recording, final=final, instructions=told)
