"""A simulator that breaks one rule is told which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tempovla.env.base import TaskEnv
from tempovla.env.checks import SimulatorViolation, check_simulator
from tempovla.env.defaults import SimulatorDefaults
from tempovla.timeline import CameraCalibration, Embodiment


@dataclass(frozen=True)
class Config(SimulatorDefaults):
    embodiment: ClassVar[Embodiment] = Embodiment("dot", 1, 2, 10.0)
    task: str = ""
    cameras: tuple[str, ...] = ("top",)
    image_size: int = 4
    render: bool = True
    max_steps: int = 9
    terminate_on_success: bool = True
    fault: str = ""

    def make(self) -> Env:
        return Env(self)

    def task_names(self) -> tuple[str, ...]:
        return ("go", "go") if self.fault == "names" else ("go", "stay")

    def check_task(self, task: str) -> None:
        if self.fault != "tasks":
            super().check_task(task)

    def instruction(self, task: str) -> str:
        return "" if self.fault == "words" else task


class Env(TaskEnv):
    @property
    def state(self) -> np.ndarray:
        return np.array([self.place], np.float64 if self.config.fault == "type" else np.float32)

    def reset_state(self, *, seed=None, task=None, init_state=None) -> None:
        if init_state is not None and self.config.fault != "states":
            raise ValueError("there are no fixed initial states")
        self._task = task or self._task or "go"
        if self.config.fault != "seed" or not hasattr(self, "place"):
            self._seed_generator(seed)
        self.place = self.np_random.uniform()

    def advance(self, action) -> tuple[float, bool, bool, dict]:
        self.place += float(action[0]) + 0.1
        return 0.0, False, False, {"success": False}

    def draw(self, camera: str) -> np.ndarray:
        side = 5 if self.config.fault == "picture" else 4
        return np.zeros((side, side, 3), np.uint8)

    def expert(self) -> Env:
        if self.config.fault == "no expert":
            raise ValueError("there is none")
        return self

    def act(self) -> np.ndarray:
        return np.full(2, 2.0 if self.config.fault == "expert" else 1.0, np.float32)


@pytest.mark.parametrize("fault", ["", "no expert"])
def test_a_sound_simulator_passes(fault):
    check_simulator(Config(fault=fault))
    check_simulator(Config(fault=fault, render=False))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("names", r"task_names\(\) gives \['go', 'go'\]; give each task one name"),
        ("tasks", r"check_task\('no task is called like this'\) is not refused; raise a ValueError"),
        ("words", r"instruction\('go'\) is empty; say the task in words"),
        ("type", r"reset observes {'observation.state': \(\(1,\), 'float64'\)}, which spaces\(\) does not contain"),
        ("seed", "reset_state begins another episode than reset of one seed"),
        ("states", r"reset_state\(init_state=0\), of 0 states, is not refused; raise a ValueError"),
        ("expert", r"the expert's action \[2.0, 2.0\] is no float32 in \[-1, 1\] of shape \(2,\)"),
        ("picture", r"reset observes .*\(5, 5, 3\).* which spaces\(\) does not contain"),
    ],
)
def test_a_fault_is_named(fault, message):
    with pytest.raises(SimulatorViolation, match=message):
        check_simulator(Config(fault=fault))


@dataclass(frozen=True)
class DeepConfig(Config):
    sensors: ClassVar[tuple[str, ...]] = ("depth",)
    depth: bool = False

    def make(self) -> DeepEnv:
        return DeepEnv(self)


class DeepEnv(Env):
    def draw(self, camera: str) -> np.ndarray:
        shade = 9 if self.config.fault == "other picture" and self.config.depth else 0
        return np.full((4, 4, 3), shade, np.uint8)

    def draw_depth(self, camera: str) -> np.ndarray:
        side = 5 if self.config.fault == "size" else 4
        return np.full((side, side, 1), np.nan if self.config.fault == "hole" else 0.5, np.float32)

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        name = "left" if self.config.fault == "stream" else "top"
        return (CameraCalibration(f"observation.depth.{name}", 4, 4, 2.0, 2.0, 2.0, 2.0),)


def test_a_simulator_that_measures_depth_passes():
    check_simulator(DeepConfig())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("size", r"reset observes .*\(5, 5, 1\).* which spaces\(\) does not contain"),
        ("hole", r"'observation\.depth\.top' holds nan; give metres, 0 where there is no reading|does not contain"),
        ("other picture", r"'observation\.images\.top' is another one with depth=True"),
        ("stream", r"calibrations\(\) are of \['observation\.depth\.left'\], which are not observed"),
    ],
)
def test_depth_that_breaks_a_rule_is_told(fault, message):
    with pytest.raises(SimulatorViolation, match=message):
        check_simulator(DeepConfig(fault=fault))
