"""What DeepMind Control costs: the import, a reset, and control steps a second with and without a picture of 64 px.

Run: `python benchmarks/dm_control_env.py`. All figures are CPU time of this process, with two simulator steps in a
control step and random actions.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version

import numpy as np

from tempovla.env.dm_control import DmControlConfig

TASKS = ("cartpole-swingup", "reacher-easy", "cup-catch", "walker-walk")
_SPENT = "import time; before = time.process_time(); {}; print(time.process_time() - before)"


def import_s(statement: str) -> float:
    """CPU seconds of an import in a process of its own, MuJoCo and NumPy being there already."""
    code = f"import numpy, mujoco; {_SPENT.format(statement)}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(found.stdout)


def steps_per_s(task: str, steps: int, render: bool) -> float:
    env = DmControlConfig(task=task, render=render).make()
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, env.config.embodiment.action_dim))
    before = time.process_time()
    for action in actions:
        _, _, _, truncated, _ = env.step(action)
        if truncated:
            env.reset_state()
    return steps / (time.process_time() - before)


def reset_ms(task: str, resets: int = 20) -> float:
    env = DmControlConfig(task=task, render=False).make()
    before = time.process_time()
    for seed in range(resets):
        env.reset_state(seed=seed)
    return (time.process_time() - before) / resets * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    packages = ", ".join(f"{name} {version(name)}" for name in ("dm-control", "mujoco", "numpy"))
    print(f"{platform.platform()}, {os.cpu_count()} cores, {packages}")
    print(f"import of dm_control.suite: {import_s('from tempovla.env.dm_control import _suite; _suite()'):.2f} s")
    print(f"{'task':18}  steps/s  steps/s with a picture  reset ms")
    for task in TASKS:
        plain, drawn = (steps_per_s(task, count, render) for count, render in ((steps, False), (steps // 2, True)))
        print(f"{task:18}  {plain:7.0f}  {drawn:22.0f}  {reset_ms(task):8.2f}")


if __name__ == "__main__":
    main()
