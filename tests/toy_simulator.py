"""A third simulator, of nothing but numpy: a hand on a line that must reach a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Dict

from tempovla.env.defaults import SimulatorDefaults
from tempovla.env.protocol import Observation, checked_action
from tempovla.timeline import Embodiment
from tempovla.timeline.keys import STATE_KEY

_PLACES = {"left": -1.0, "right": 1.0}
_REACH, _STEP = 0.05, 0.2


@dataclass(frozen=True)
class LineConfig(SimulatorDefaults):
    """What is played."""

    title: ClassVar[str] = "Line"
    embodiment: ClassVar[Embodiment] = Embodiment("hand", 1, 2, 10.0, ("place [m]",), ("way", "grip"))

    task: str = "left"
    cameras: tuple[str, ...] = ()
    render: bool = True
    max_steps: int = 50
    terminate_on_success: bool = True

    def make(self) -> LineEnv:
        return LineEnv(self)

    def spaces(self) -> tuple[Dict, Box]:
        return Dict({STATE_KEY: Box(-2, 2, (1,), np.float32)}), Box(-1, 1, (2,), np.float32)

    def task_names(self) -> tuple[str, ...]:
        return tuple(_PLACES)

    def check_task(self, task: str) -> None:
        if task not in _PLACES:
            raise ValueError(f"no task {task!r}")

    def instruction(self, task: str) -> str:
        return f"go {task}"

    def init_state_count(self, task: str) -> int:
        return 3


class LineEnv:
    """Initial state i begins at 0.1 * i."""

    def __init__(self, config: LineConfig) -> None:
        self.config, self.task = config, config.task

    @property
    def instruction(self) -> str:
        return self.config.instruction(self.task)

    @property
    def state(self) -> np.ndarray:
        return np.array([self.hand], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        self.reset_state(seed=seed, **(options or {}))
        return self.observe(), {}

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        self.task = task or self.task
        drawn = np.random.default_rng(seed).uniform(-0.5, 0.5)
        self.hand, self.steps = float(drawn) if init_state is None else 0.1 * init_state, 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        self.hand += _STEP * float(checked_action(action, 2)[0])
        self.steps += 1
        success = abs(self.hand - _PLACES[self.task]) < _REACH
        return (
            float(success),
            success and self.config.terminate_on_success,
            self.steps >= self.config.max_steps,
            {"success": success},
        )

    def observe(self) -> Observation:
        return {STATE_KEY: self.state}

    def expert(self) -> LineExpert:
        return LineExpert(self)

    def simulator_record(self) -> dict[str, np.ndarray]:
        return {"places": np.array([self.hand, self.steps])}

    def simulator_description(self) -> dict[str, str]:
        return {"env_name": f"line {self.task}"}


class LineExpert:
    """Goes straight on."""

    def __init__(self, env: LineEnv) -> None:
        self._env = env

    def act(self) -> np.ndarray:
        way = (_PLACES[self._env.task] - self._env.hand) / _STEP
        return np.array([np.clip(way, -1, 1), 1], np.float32)


WAITING = 3
"""Control steps for which a guide says that one should wait."""


@dataclass(frozen=True)
class GuidedConfig(LineConfig):
    """A hand that is guided: it is told to wait, and then where to go. The simulator measures how well it listened."""

    title: ClassVar[str] = "Guided line"
    recorded: ClassVar[tuple[str, ...]] = ("wrong_commands",)
    varied: ClassVar[tuple[str, ...]] = ("wrong_commands",)

    wrong_commands: bool = False

    def make(self) -> GuidedEnv:
        return GuidedEnv(self)


class GuidedEnv(LineEnv):
    """A guide that is wrong says the other way. A hand that moves while it should wait is `hasty`."""

    config: GuidedConfig

    @property
    def instruction(self) -> str:
        if self.steps < WAITING:
            return "wait"
        other = "right" if self.task == "left" else "left"
        return self.config.instruction(other if self.config.wrong_commands else self.task)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"task": self.task, "instruction": self.instruction}

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        if init_state is not None and init_state >= self.config.init_state_count(self.task):
            raise ValueError(f"init_state={init_state}: there are {self.config.init_state_count(self.task)}")
        super().reset_state(seed=seed, task=task, init_state=init_state)
        self._begun, self._hasty = self.hand, 0.0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        before, was_told = self.hand, self.instruction
        outcome = super().advance(action)
        self._hasty += was_told == "wait" and self.hand != before
        return outcome

    def figures(self) -> Mapping[str, float]:
        return {"hasty": self._hasty, "moved": abs(self.hand - self._begun)}
