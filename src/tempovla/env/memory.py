"""A memory benchmark on Meta-World's arm and table: no single frame shows the next action.

By construction: while a cue shows, and `delay_steps` beyond, the hand is held whatever the policy commands, and after
each touch it is put back to its start and held again. What is seen afterwards so depends on the seed's pads and the
actions since then, and on nothing that has to be remembered. That the hand is held shows in every frame: whoever has
no memory knows when to go, and only not where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tempovla.env.base import TaskEnv
from tempovla.env.memory_expert import MemoryExpert
from tempovla.env.memory_tasks import HELD_LAMP, MEMORY_TASKS, ROOMS, TARGET_RADIUS_M, Plan, check_memory_task
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv
from tempovla.env.protocol import checked_action
from tempovla.env.rendering import Marker
from tempovla.env.tabletop import ACTION_DIMS, CONTROL_RATE_HZ, TabletopConfig
from tempovla.timeline.calibration import CameraCalibration

_TOUCH_HEIGHT_M = 0.05
_START_SEED = 0  # of Meta-World's reset, the same in all episodes: what it draws is hidden
_HOLD = np.array([0.0, 0.0, 0.0, -1.0], np.float32)
_UNDRAWN_GROUP = 5
_OUT_OF_REACH_M = (0.6, 0.3, 0.02)


@dataclass(frozen=True)
class MemoryConfig(TabletopConfig):
    """Cues, pictures and step limits of a `MemoryEnv`; see `TabletopConfig` for the rest.

    Attributes:
        cue_steps: observations that show the cue, where the task has one.
        delay_steps: control steps for which the hand is held after the cue, and after each touch. Policies which
            execute more than `delay_steps + 1` actions per observation can carry the cue in their chunk, and need no
            memory.
        max_steps: control steps after which an episode is truncated; None is the task's own limit, 80 to 146 unless
            cue and delay are changed.
    """

    title: ClassVar[str] = "the memory benchmark"
    recorded: ClassVar[tuple[str, ...]] = ("cue_steps", "delay_steps", "house")
    varied: ClassVar[tuple[str, ...]] = ("house",)
    mismatch: ClassVar[str] = ": it is asked about moments that it has never seen"
    example: ClassVar[str] = "--tasks colour-cue,hidden-goal"

    task: str = "colour-cue"
    cue_steps: int = 8
    delay_steps: int = 12
    house: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.house < 0:
            raise ValueError(f"house={self.house} must not be negative; houses are numbered from 0")
        for name in ("cue_steps", "delay_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def scene(self) -> MetaWorldConfig:
        """Of the Meta-World environment whose arm and table these are."""
        return MetaWorldConfig(
            task="reach-v3",
            cameras=self.cameras,
            image_size=self.image_size,
            supersample=self.supersample,
            mesh_cell_m=self.mesh_cell_m,
            terminate_on_success=False,
            render=self.render,
            depth=self.depth,
        )

    def check_execution_horizon(self, actions: int) -> None:
        """Raise a ValueError if a policy could carry the cue in a chunk of which it executes so many actions."""
        if actions > self.delay_steps + 1:
            raise ValueError(
                f"execution_horizon={actions} is more than delay_steps + 1 = {self.delay_steps + 1}: a chunk could "
                f"carry the cue without any memory; give execution_horizon={self.delay_steps + 1} or less, or hold the "
                "hand longer"
            )

    def make(self) -> MemoryEnv:
        """Return an environment."""
        return MemoryEnv(self)

    def task_names(self) -> tuple[str, ...]:
        """Return all tasks."""
        return tuple(MEMORY_TASKS)

    def check_task(self, task: str) -> None:
        """Raise a ValueError that names the nearest tasks unless this is one."""
        check_memory_task(task)

    def instruction(self, task: str) -> str:
        """Return a task in words."""
        return MEMORY_TASKS[task].instruction

    def init_state_count(self, task: str) -> int:
        """Return the number of rooms of a house; 0 for a task that is not played in rooms."""
        return ROOMS if MEMORY_TASKS[task].in_rooms else 0

    def check_room(self, task: str, room: int | None) -> None:
        """Raise a ValueError if an episode of the task cannot begin in this room, its fixed initial state."""
        if room is not None and not 0 <= room < self.init_state_count(task):
            kind = (
                f"are 0 to {ROOMS - 1}; give one of them" if MEMORY_TASKS[task].in_rooms else "do not exist; give None"
            )
            raise ValueError(f"init_state={room}: fixed initial states of {task} {kind}")


class MemoryEnv(TaskEnv):
    """One task of the memory benchmark on the table of Meta-World's reach, its puck and goal put out of sight.

    Observations and actions are those of `MetaWorldEnv`. The hand touches where the middle of its fingers comes below
    5 cm; the simulator's poses decide. An episode is `terminated` at its success, and `truncated` at its last step or
    at its first wrong touch, after which it cannot succeed. The reward is 1 at each right touch.
    `info["held"]` is True if the next action will be ignored.

    Raises:
        ValueError: for an unknown task or camera.
        RenderingUnavailableError: if images are wanted and cannot be drawn here.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_RATE_HZ}  # noqa: RUF012 - as Gymnasium has it

    config: MemoryConfig

    def __init__(self, config: MemoryConfig | None = None) -> None:
        config = config or MemoryConfig()
        check_memory_task(config.task)
        super().__init__(config, config.task)
        self._world = MetaWorldEnv(self.config.scene())
        model = self._world.simulation.model
        model.geom_group[model.geom("objGeom").id] = _UNDRAWN_GROUP
        model.site_group[model.site("goal").id] = _UNDRAWN_GROUP

    @property
    def plan(self) -> Plan:
        """The plan of the episode, for experts and never for policies."""
        return self._plan

    @property
    def stage(self) -> int:
        """How many right touches there were: for experts, never for policies."""
        return self._stage

    @property
    def held(self) -> bool:
        """Whether the next action will be ignored."""
        return self._step < self._free_from

    @property
    def state(self) -> np.ndarray:
        """`observation.state` of the present moment, (4,) float32."""
        return self._world.state

    @property
    def fingers(self) -> np.ndarray:
        """The middle of the fingers, (3,) float64 [m]."""
        return self._world.simulation.tcp_center

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Like `reset`, without observing; an initial state is the number of a room, for tasks played in rooms."""
        if task is not None:
            check_memory_task(task)
        self.config.check_room(task or self._task, init_state)
        self._seed_generator(seed)
        self._task = task or self._task
        self._plan = MEMORY_TASKS[self._task].draw(self.np_random, self.config.house, init_state)
        self._step, self._stage, self._failed = 0, 0, False
        self._put_back()
        config, cue_steps = self.config, self.config.cue_steps if self._plan.cue else 0
        self._free_from += cue_steps
        held_steps = cue_steps + config.delay_steps * len(self._plan.order)
        self._last_step = config.max_steps or held_steps + MEMORY_TASKS[self._task].free_steps

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Do as `step` does, without drawing observations."""
        action = checked_action(action, ACTION_DIMS)
        held = self.held
        self._world.advance(_HOLD if held else action)
        self._step += 1
        right_touch = not held and self._touch()
        terminated = self._succeeded and self.config.terminate_on_success
        return float(right_touch), terminated, self._failed or self._step >= self._last_step, self._info()

    def draw(self, camera: str) -> np.ndarray:
        """Return one camera's view of the present moment, (S, S, 3) uint8, upright."""
        self._world.markers = self._visible()
        return self._world.draw(camera)

    def draw_depth(self, camera: str) -> np.ndarray:
        """Return how far away one camera sees things at the present moment, (S, S, 1) float32 [m], upright."""
        self._world.markers = self._visible()
        return self._world.draw_depth(camera)

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return the calibrations of all streams of pictures; cameras on the hand have no pose."""
        return self._world.calibrations()

    def expert(self) -> MemoryExpert:
        """Return an expert that knows the plan and the stage."""
        return MemoryExpert(self)

    @property
    def _succeeded(self) -> bool:
        return self._stage == len(self._plan.order)

    def _info(self) -> dict[str, bool]:
        return {"success": self._succeeded, "held": self.held}

    def _visible(self) -> tuple[Marker, ...]:
        plan = self._plan
        if plan.cue and self._step < self.config.cue_steps:
            return plan.scene + plan.cue
        return (*plan.scene, HELD_LAMP) if self.held else plan.scene

    def _touch(self) -> bool:
        """Take note of what the hand touches now; whether it was right."""
        if self._succeeded or self._failed or self.fingers[2] >= _TOUCH_HEIGHT_M:
            return False
        distances = np.linalg.norm(np.array(self._plan.targets) - self.fingers[:2], axis=1)
        touched = np.flatnonzero(distances <= TARGET_RADIUS_M)
        if self._plan.order[self._stage] not in touched:
            self._failed = bool(len(touched)) or self._plan.anywhere_counts
            return False
        self._stage += 1
        if not self._succeeded:
            self._put_back()
        return True

    def _put_back(self) -> None:
        """Put the arm to its start, to the bit the same each time, and hold it."""
        self._world.reset_state(seed=_START_SEED)
        self._world.simulation._set_obj_xyz(np.array(_OUT_OF_REACH_M))
        self._free_from = self._step + self.config.delay_steps
