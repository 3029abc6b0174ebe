"""Run a trained policy on a robot.

    python examples/robot.py outputs/run/checkpoint_latest "open the drawer" --steps 200

`Robot` stands in for yours: put your drivers into `observe` and `move`. As it is, it shows black pictures, measures a
depth of one metre everywhere and moves nothing, and the program tells how long a decision takes on this computer and
whether the control rate is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import tempovla
from tempovla.control.robot_policy import RobotPolicy
from tempovla.timeline.keys import DEPTH_KEY_PREFIX


class Robot:
    """A robot without motors: black pictures, depth of one metre and a state of zeros, in the sizes of the training."""

    def __init__(self, policy: RobotPolicy) -> None:
        shapes = policy.provenance.get("image_shapes", {})
        self.observation = {key: _shown(key, shape) for key, shape in shapes.items()}
        self.observation["observation.state"] = np.zeros(policy.embodiment.state_dim, np.float32)
        self.actions: list[np.ndarray] = []

    def observe(self) -> dict[str, Any]:
        """What cameras and joints show now, under the names that the dataset has."""
        return self.observation

    def move(self, action: np.ndarray) -> None:
        """Execute one control step; `action` (A,) has the units of the dataset."""
        self.actions.append(action)


def _shown(key: str, shape: Sequence[int]) -> np.ndarray:
    """A black picture (H, W, 3) uint8, or a depth (H, W, 1) of one metre, as float32."""
    return np.ones(shape, np.float32) if key.startswith(DEPTH_KEY_PREFIX) else np.zeros(shape, np.uint8)


def run_episode(policy: RobotPolicy, robot: Robot, task: str, steps: int) -> None:
    """Act for so many control steps, at the rate of the demonstrations; late steps are not hurried to catch up."""
    policy.reset()
    period_s = 1 / policy.embodiment.rate_hz
    due_s = time.perf_counter()
    for _ in range(steps):
        robot.move(policy.step({**robot.observe(), "task": task}))
        now_s = time.perf_counter()
        due_s = max(due_s + period_s, now_s)
        time.sleep(due_s - now_s)
    print(policy.timing)


def main() -> None:
    """Load the policy, and run one episode."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("policy", help="a checkpoint, or a file that `tempovla export` wrote")
    parser.add_argument("task", help="what to do, in words")
    parser.add_argument("--steps", type=int, default=200, help="control steps")
    parser.add_argument("--ensemble", type=float, help="average overlapping chunks with this decay, such as 0.01")
    arguments = parser.parse_args()
    policy = tempovla.load(arguments.policy, ensemble=arguments.ensemble)
    print(policy)
    run_episode(policy, Robot(policy), arguments.task, arguments.steps)


if __name__ == "__main__":
    main()
