"""What was around a car in episodes that were played, found by playing them again without pictures."""

from __future__ import annotations

from dataclasses import replace

from numpy.typing import NDArray

from tempovla.env.protocol import SimulatorConfig, Surveyed
from tempovla.env.snapshot import Snapshot
from tempovla.env.worker import Worker
from tempovla.rollout.runner import EpisodeResult


def survey(result: EpisodeResult, env_config: SimulatorConfig) -> list[Snapshot] | None:
    """Return what was around the car before each of the T actions of an episode; None if the simulator cannot tell.

    Args:
        result: of the episode, with its actions.
        env_config: of the environment in which it was played.

    Raises:
        WorkerDiedError: if the simulator crashed.
    """
    assert result.actions is not None, "actions were not kept"
    worker = Worker(_Surveyor, replace(env_config, task=result.spec.task, **_blind(env_config)))
    try:
        worker.receive()
        worker.send("survey", result.spec.seed, result.spec.init_state, result.actions)
        found: list[Snapshot] | None = worker.receive()
        return found
    finally:
        worker.close()


def _blind(env_config: SimulatorConfig) -> dict[str, bool]:
    return {"render": False} if "render" in env_config.__dataclass_fields__ else {}


class _Surveyor:
    """The environment of a worker."""

    def __init__(self, env_config: SimulatorConfig) -> None:
        self._env = env_config.make()

    def survey(self, seed: int, init_state: int | None, actions: NDArray) -> list[Snapshot] | None:
        """Play an episode, and return what is around before each action."""
        env = self._env
        if not isinstance(env, Surveyed):
            return None
        env.reset_state(seed=seed, init_state=init_state)
        found = []
        for action in actions:
            found.append(Snapshot.of(env.snapshot()))
            env.advance(action)
        return found
