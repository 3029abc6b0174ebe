"""What Meta-World costs: an image, an expert's episode, a control step in 1, 8 and 32 environments.

Run: `python benchmarks/metaworld_env.py`. All figures are CPU time of this process and its workers; on a busy machine
they grow by up to a half, the ratios stay.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tempovla.env.expert import ActionNoise, replay, rollout_expert
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv
from tempovla.env.vector import ShardedVectorEnv

TASKS = ("button-press-topdown-v3", "drawer-open-v3", "window-open-v3", "door-open-v3", "push-v3")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_ms(function: Callable[[], object], repeats: int) -> float:
    function()
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats * 1e3


def images() -> None:
    print("\nimage, both cameras 64 px    CPU ms")
    variants = {
        "default": MetaWorldConfig(task=TASKS[1]),
        "all mesh details": MetaWorldConfig(task=TASKS[1], mesh_cell_m=0),
        "without supersampling": MetaWorldConfig(task=TASKS[1], supersample=1),
    }
    for name, config in variants.items():
        env = MetaWorldEnv(config)
        env.reset(seed=0)
        print(f"  {name:26} {cpu_ms(env.observe, 50):6.2f}")


def episodes(count: int) -> None:
    print(f"\nexpert, {count} seeds a task   success  steps  simulate s  replay and draw s")
    env = MetaWorldEnv(MetaWorldConfig(terminate_on_success=False))
    env.reset(seed=0)
    for task in TASKS:
        start = time.process_time()
        played = [
            rollout_expert(env, seed, task=task, noise=ActionNoise(), binary_gripper=True) for seed in range(count)
        ]
        simulated = time.process_time()
        solved = [episode for episode in played if episode.success]
        for episode in solved[:2]:
            replay(env, episode)
        drawn = (time.process_time() - simulated) / 2
        steps = np.mean([len(episode.labels) for episode in solved])
        simulation = (simulated - start) / count
        print(f"  {task:26} {len(solved):3}/{count} {steps:6.0f} {simulation:11.3f} {drawn:18.3f}")


def worker_cpu_s(env: ShardedVectorEnv) -> float:
    stats = [Path(f"/proc/{worker.process_id}/stat").read_text().split() for worker in env._workers]
    return sum(int(fields[13]) + int(fields[14]) for fields in stats) / TICKS_PER_S


def vectors(workers: int) -> None:
    print(f"\n{workers} workers; per row:  step CPU ms  steps/CPU-s  six steps, drawn once, CPU ms  steps/s  reset, ms")
    for num_envs in (1, 8, 32):
        env = ShardedVectorEnv(MetaWorldConfig(), num_envs, workers)
        tasks = [TASKS[row * len(TASKS) // num_envs] for row in range(num_envs)]
        env.reset(seed=0, options={"task": tasks})
        actions = np.random.default_rng(0).uniform(-1, 1, (num_envs, 6, 4))
        rounds = 96 // num_envs

        def per_row_ms(function: Callable[[], object], repeats: int = rounds, env: ShardedVectorEnv = env) -> float:
            start = worker_cpu_s(env) + time.process_time()
            for _ in range(repeats):
                function()
            return (worker_cpu_s(env) + time.process_time() - start) / repeats / env.num_envs * 1e3

        step = per_row_ms(lambda env=env, actions=actions: env.step(actions[:, 0]))
        chunk = per_row_ms(lambda env=env, actions=actions: env.step_chunk(actions))
        reset = per_row_ms(lambda env=env: env.reset(seed=1))
        print(f"  {num_envs:3} envs {step:21.2f} {1e3 / step:12.0f} {chunk:28.2f} {6e3 / chunk:12.0f} {reset:13.1f}")
        env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5, help="episodes per task")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "gymnasium", "numpy"))
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}")
    images()
    print(f"  drawn with {os.environ['MUJOCO_GL']}")
    episodes(arguments.episodes)
    vectors(arguments.workers)


if __name__ == "__main__":
    main()
