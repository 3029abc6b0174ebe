"""The memory benchmark: how often its experts succeed, how often guessing does, and how long episodes are.

Run: `python benchmarks/memory_env.py`, or with `--film FILE.png` for a picture of one episode of each task over time.
Experts are disturbed as they are in `tempovla collect memory`, and each of their episodes is tried once.
"""

import argparse
import os
import platform
import time
from importlib.metadata import version

import numpy as np
from PIL import Image

from tempovla.env.expert import ActionNoise, replay, rollout_expert
from tempovla.env.memory import MemoryConfig, MemoryEnv
from tempovla.env.memory_expert import GuessingExpert
from tempovla.env.memory_tasks import MEMORY_TASKS
from tempovla.env.seeding import episode_seed
from tempovla.rollout.metrics import SuccessRate
from tempovla.timeline.keys import IMAGE_KEY_PREFIX

NOISE = ActionNoise(max_sigma=0.5, correlation=0.5)
FRAMES, ENLARGED = 8, 2


def guess(env: MemoryEnv, task: str, seed: int) -> bool:
    env.reset_state(seed=seed, task=task)
    expert = GuessingExpert(env, np.random.default_rng([seed, 1]))
    while True:
        _, terminated, truncated, info = env.advance(expert.act())
        if terminated or truncated:
            return info["success"]


def rates(episodes: int) -> None:
    print(f"\n{'task':16} expert of {episodes}  steps (longest)  chance  one frame, guessing [95%]   CPU ms an episode")
    teacher = MemoryEnv(MemoryConfig(render=False, terminate_on_success=False))
    pupil = MemoryEnv(MemoryConfig(render=False))
    for name, task in MEMORY_TASKS.items():
        start = time.process_time()
        seeds = [episode_seed("collect", 0, name, episode) for episode in range(episodes)]
        played = [rollout_expert(teacher, seed, task=name, noise=NOISE, binary_gripper=True) for seed in seeds]
        cost_ms = (time.process_time() - start) / episodes * 1e3
        lengths = [len(episode.labels) for episode in played]
        lucky = SuccessRate(sum(guess(pupil, name, seed) for seed in range(10 * episodes)), 10 * episodes)
        low, high = lucky.interval
        print(
            f"{name:16} {sum(episode.success for episode in played):12} {np.mean(lengths):7.0f} ({max(lengths)})"
            f" {task.chance:12.1%} {lucky.rate:10.1%} [{low:.1%}, {high:.1%}] {cost_ms:14.0f}"
        )


def film(path: str) -> None:
    """For each task a row of pictures of both cameras, from the first to the last step of an expert's episode."""
    env = MemoryEnv(MemoryConfig(terminate_on_success=False))
    rows = []
    for name in MEMORY_TASKS:
        seen = replay(env, rollout_expert(env, seed=4, task=name))
        times = np.linspace(0, len(seen) - 1, FRAMES).astype(int)
        print(f"{name}: steps {times.tolist()}")
        for camera in env.config.cameras:
            rows.append(np.concatenate([seen[step][IMAGE_KEY_PREFIX + camera] for step in times], axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.NEAREST).save(
        path, optimize=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20, help="of each expert; guesses are ten times as many")
    parser.add_argument("--film", metavar="FILE", help="write a picture instead")
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "numpy"))
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}")
    if arguments.film:
        film(arguments.film)
    else:
        rates(arguments.episodes)


if __name__ == "__main__":
    main()
