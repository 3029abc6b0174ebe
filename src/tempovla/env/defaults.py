"""Defaults of a simulator's config, so that a new simulator defines only its own part.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from tempovla.env.collect import CollectConfig
from tempovla.env.protocol import Score, shows_depth
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX, STATE_KEY

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Dict

    from tempovla.env.protocol import SimulatorConfig

LOGGER = logging.getLogger(__name__)

InitStates = Literal["benchmark", "random"]


def sensors_on(config: SimulatorConfig) -> dict[str, Any]:
    """Return the fields that add streams to observations, those alone that are on."""
    return {name: getattr(config, name) for name in config.sensors if getattr(config, name)}


def check_alike(config: SimulatorConfig, tasks: Sequence[str]) -> None:
    """Refuse tasks whose states or actions are not all of the same sizes: no one policy acts in them, and no one
    environment plays them.

    Raises:
        ValueError: naming two tasks and their sizes.
    """
    if config.tasks_share_spaces or not tasks:
        return
    bodies = {task: replace(config, task=task).embodiment for task in tasks}
    first, *others = ((task, body.state_dim, body.action_dim) for task, body in bodies.items())
    for other in others:
        if other[1:] != first[1:]:
            told = " and ".join(
                f"{task} has {state} state and {action} action dimensions" for task, state, action in (first, other)
            )
            raise ValueError(f"tasks: {told}; play tasks of different sizes one at a time")


def depth_spaces(cameras: Sequence[str], size: int) -> dict[str, Box]:
    """Return the spaces of the cameras' distances, squares of `size` pixels."""
    from gymnasium.spaces import Box

    return {DEPTH_KEY_PREFIX + camera: Box(0, np.inf, (size, size, 1), np.float32) for camera in cameras}


class SimulatorDefaults:
    """Base of the frozen dataclasses that are simulators' configs; see `SimulatorConfig` for what they must add."""

    recorded: ClassVar[tuple[str, ...]] = ()
    """Fields that change observations or instructions. A dataset records them, and evaluations take them from it."""

    varied: ClassVar[tuple[str, ...]] = ()
    """Those of `recorded` in which evaluations and demonstrations may differ, as a policy is not expected to know
    them."""

    mismatch: ClassVar[str] = ""
    """Ends the warning that one of these is not what the policy was trained on."""

    demonstrated: ClassVar[Mapping[str, Any]] = {}
    """Values of fields while experts demonstrate, where they are not the fields' defaults."""

    sensors: ClassVar[tuple[str, ...]] = ()
    """Fields that add streams to observations and are off by default, such as `depth`. Collecting may turn them on;
    evaluations turn on what the policy reads."""

    incidental: ClassVar[tuple[str, ...]] = ()
    """Fields that change nothing in an episode, such as the folder of a simulator's files. A run of learning online
    may go on with other values of these, but of no others."""

    evaluated: ClassVar[Mapping[str, Any]] = {}
    """Values of fields while policies are evaluated, where they are not the fields' defaults."""

    default_init_states: ClassVar[InitStates] = "random"
    """Default of the initial states of an evaluation."""

    tasks_are_fixed: ClassVar[bool] = True
    """Whether all configs have the same tasks."""

    tasks_share_spaces: ClassVar[bool] = True
    """Whether the spaces, and the body, are the same for all tasks; otherwise they are those of the config's task."""

    score: ClassVar[Score] = "success"
    """What episodes count by. Where it is the return, evaluations report its mean instead of a success rate."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions the results of an evaluation record, beside those that all results do."""

    example: ClassVar[str] = ""
    """Options of an evaluation that the help shows as an example, such as `--tasks push-v3`."""

    @classmethod
    def from_recording(cls, recorded: Mapping[str, Any], simulator: str, **asked: Any) -> Self:
        """Return the config with the given values, else those of a dataset's recording, else the defaults.

        It warns where pictures or episodes are not, or may not be, those that a policy was trained on.

        Args:
            recorded: the dataset's `recording`; it counts if it was made in this simulator.
            simulator: this simulator's name.
            asked: values of the fields `recorded`; None leaves the choice to the recording.
        """
        known = recorded if recorded.get("simulator") == simulator else {}
        defaults = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]
        chosen: dict[str, Any] = {}
        for name in cls.recorded:
            wanted, trained = asked.get(name), known.get(name)
            chosen[name] = next(value for value in (wanted, trained, defaults[name]) if value is not None)
            if name in cls.varied:
                continue
            if trained is not None and chosen[name] != trained:
                message = "%s is %s, but the policy was trained on %s%s"
                LOGGER.warning(message, name, chosen[name], trained, cls.mismatch)
            elif trained is None and wanted is None:
                LOGGER.warning("the checkpoint does not know its demonstrations' %s; taking %s", name, chosen[name])
        if chosen:
            LOGGER.info(", ".join(f"{name} {_as_given(value)}" for name, value in chosen.items()))
        return cls(**{**cls.evaluated, **chosen})

    def recording(self, simulator: str) -> dict[str, Any]:
        """Return the settings that a dataset records; empty if no field changes observations or instructions."""
        own = {name: getattr(self, name) for name in self.recorded}
        return {"simulator": simulator} | own if own else {}

    @classmethod
    def for_experts(cls, **asked: Any) -> Self:
        """Return the config in which experts play: given values, else `demonstrated`, else defaults."""
        return cls(**{**cls.demonstrated, **{name: value for name, value in asked.items() if value is not None}})

    def experts(self) -> CollectConfig:
        """Return the default settings of the experts.

        Raises:
            ValueError: if there are none.
        """
        return CollectConfig()

    def words(self, task: str, trained: Sequence[str]) -> str:
        """Return the instruction of a task in an evaluation.

        Args:
            task: the task's name.
            trained: the instructions of the policy's demonstrations; empty if unknown.
        """
        return self.instruction(task)

    def default_tasks(self, trained: Sequence[str]) -> tuple[str, ...]:
        """Return the tasks of an evaluation that names none: those that the policy was trained on, or else all."""
        known = tuple(task for task in self.task_names() if self.words(task, trained) in trained)
        return known or self.task_names()

    @property
    def episode_steps(self) -> int | None:
        """Most control steps of an episode of the config's task; None if it is not known before an episode begins."""
        steps: int | None = self.max_steps  # type: ignore[attr-defined]
        return steps

    def init_state_count(self, task: str) -> int:
        """Return how many fixed initial states the benchmark has for a task; here the seed draws all of them."""
        return 0

    def check_init_state(self, init_state: int | None) -> None:
        """Raise a ValueError for a fixed initial state, as there are none."""
        if init_state is not None:
            title = getattr(self, "title", "this simulator")
            raise ValueError(f"init_state={init_state}: {title} has no fixed initial states; give None")

    def spaces(self) -> tuple[Dict, Box]:
        """Return the spaces of each observation and of actions: the body's sizes, and a picture a camera if there are
        any.

        Pictures are squares of `image_size` pixels.
        """
        from gymnasium.spaces import Box, Dict

        config: Any = self
        body = config.embodiment
        shown: dict[str, Any] = {STATE_KEY: Box(-np.inf, np.inf, (body.state_dim,), np.float32)}
        if config.render and config.cameras:
            picture = Box(0, 255, (config.image_size, config.image_size, 3), np.uint8)
            shown |= {IMAGE_KEY_PREFIX + camera: picture for camera in config.cameras}
        if shows_depth(config):
            shown |= depth_spaces(config.cameras, config.image_size)
        return Dict(shown), Box(-1, 1, (body.action_dim,), np.float32)

    def check_task(self, task: str) -> None:
        """Raise a ValueError that names the nearest task, or all, unless this is one."""
        known = self.task_names()
        if task not in known:
            near = get_close_matches(task, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise ValueError(f"task: no task {task!r}; {hint}")

    def instruction(self, task: str) -> str:
        """Return a task in words."""
        raise NotImplementedError

    def task_names(self) -> tuple[str, ...]:
        """Return all tasks, in the benchmark's order."""
        raise NotImplementedError


def _as_given(value: Any) -> str:
    """A setting as the command line takes it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
