"""A second simulation that tries actions from the moment in which a first one is, and leaves that one alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tempovla.env.protocol import SimulatorEnv

PLAIN = (bool, int, float, str, type(None), tuple, np.generic)
"""Types of attributes that are taken over as they are."""
MOVED = ("body_pos", "body_quat", "site_pos")
"""Arrays of a MuJoCo model that simulators change in the middle of an episode."""


class Trial(NamedTuple):
    """What came of a sequence of H actions.

    Attributes:
        rewards: (H,) float64 of the actions; 0 after the end of the episode.
        state: (D,) float32, `observation.state` after the last of them.
        is_over: whether the episode ended with one of them.
    """

    rewards: NDArray[np.float64]
    state: NDArray[np.float32]
    is_over: bool


@dataclass(frozen=True)
class _Moment:
    """All that the rest of an episode depends on."""

    integration: NDArray[np.float64]
    moved: tuple[NDArray[np.float64], ...]
    attributes: tuple[dict[str, Any], ...]


class SimulatorTwin:
    """An environment of its own, brought to the moment of another one again and again.

    MuJoCo's integration state holds what its next steps depend on, the solver's warm start included, so that the twin
    repeats the other environment's steps bit for bit.

    Args:
        env: a `DmControlEnv` or a `MetaWorldEnv`, in an episode.

    Raises:
        ValueError: if the environment is of another kind.
    """

    def __init__(self, env: SimulatorEnv) -> None:
        _mujoco_of(env)
        self._env = env
        self._twin = env.config.make()
        self._moment: _Moment | None = None

    def begin(self, seed: int) -> None:
        """Begin the same episode as the environment did, whose seed and task this is told by.

        Args:
            seed: with which the environment was reset.
        """
        self._twin.reset_state(seed=seed, task=self._env.task)
        self.look()

    def look(self) -> None:
        """Take the environment's present moment as that from which actions are tried."""
        import mujoco

        model, data = _mujoco_of(self._env)
        kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        integration = np.empty(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, integration, kind)
        moved = tuple(getattr(model, name).copy() for name in MOVED)
        self._moment = _Moment(integration, moved, tuple(_plain_attributes(part) for part in _parts_of(self._env)))

    def attempt(self, actions: NDArray[np.floating[Any]]) -> Trial:
        """Do actions (H, A) in [-1, 1] from the moment that was looked at."""
        assert self._moment is not None
        self._go_to(self._moment)
        rewards = np.zeros(len(actions))
        is_over = False
        for index, action in enumerate(actions):
            rewards[index], terminated, truncated, _ = self._twin.advance(action)
            is_over = terminated or truncated
            if is_over:
                break
        return Trial(rewards, self._twin.state, is_over)

    def _go_to(self, moment: _Moment) -> None:
        import mujoco

        model, data = _mujoco_of(self._twin)
        kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        for name, values in zip(MOVED, moment.moved, strict=True):
            getattr(model, name)[:] = values
        mujoco.mj_setState(model, data, moment.integration, kind)
        mujoco.mj_forward(model, data)
        mujoco.mj_setState(model, data, moment.integration, kind)  # its solver may have changed the warm start
        for part, attributes in zip(_parts_of(self._twin), moment.attributes, strict=True):
            _set_attributes(part, attributes)


def _mujoco_of(env: Any) -> tuple[Any, Any]:
    """MuJoCo's model and data behind an environment."""
    simulation: Any = getattr(env, "simulation", None)
    physics = getattr(simulation, "physics", None)
    if physics is not None:
        return physics.model.ptr, physics.data.ptr
    if hasattr(simulation, "model") and hasattr(simulation, "data"):
        return simulation.model, simulation.data
    raise ValueError(
        f"{type(env).__name__} cannot be brought back to a moment; plan with the true simulator in dmc or metaworld"
    )


def _parts_of(env: Any) -> tuple[Any, ...]:
    """The objects whose attributes an episode changes."""
    simulation = env.simulation
    return (env, simulation, simulation.task) if hasattr(simulation, "physics") else (env, simulation)


def _plain_attributes(part: Any) -> dict[str, Any]:
    """Numbers, arrays and random states of an object."""
    kept: dict[str, Any] = {}
    for name, value in vars(part).items():
        if isinstance(value, np.ndarray):
            kept[name] = value.copy()
        elif isinstance(value, PLAIN):
            kept[name] = value
        elif isinstance(value, np.random.RandomState):
            kept[name] = value.get_state()
    return kept


def _set_attributes(part: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        present = getattr(part, name, None)
        if isinstance(present, np.random.RandomState):
            present.set_state(value)
        else:
            setattr(part, name, value.copy() if isinstance(value, np.ndarray) else value)
