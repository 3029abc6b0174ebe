"""The driving simulator: what a control step and each sensor suite cost, and how often the expert arrives.

Run: `python benchmarks/driving_env.py`, with `--routes 40` to let the expert drive. Times are those of the CPU; steps a
second are of the clock, as traffic runs in a process of its own.
"""

import argparse
import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version

from tempovla.env.driving.config import DrivingConfig
from tempovla.env.driving.environment import DrivingEnv
from tempovla.rollout.metrics import SuccessRate

SIZES = ((64, 112, 1), (112, 200, 1), (112, 200, 2), (224, 400, 1))
AZIMUTHS = (360, 1080)


def cost_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats * 1e3


def steps(town: str, count: int) -> None:
    env = DrivingConfig(town=town, render=False, max_steps=count + 1).make()
    env.reset_state(seed=1)
    expert, cpu, clock, driven = env.expert(), time.process_time(), time.perf_counter(), 0
    for _ in range(count):
        driven += 1
        if env.advance(expert.act())[1]:
            break
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    print(f"{town:12} {driven / clock:8.0f} steps/s without sensors {cpu / driven * 1e3:8.2f} ms CPU a step here")
    env.close()


def suites(town: str, repeats: int) -> None:
    print(f"\n{'sensor suite':40} day [ms]   night [ms]   fog [ms]")
    for height, width, supersample in SIZES:
        env = DrivingConfig(town=town, image_height=height, image_width=width, supersample=supersample).make()
        name = f"6 cameras {height} x {width}" + (f", supersampled {supersample} x" if supersample > 1 else "")
        row(env, name, repeats)
    for azimuths in AZIMUTHS:
        env = DrivingConfig(town=town, cameras=(), lidar=True, lidar_azimuths=azimuths).make()
        row(env, f"LiDAR 32 x {azimuths}", repeats)
    row(DrivingConfig(town=town, cameras=(), radar=True).make(), "5 radars", repeats)
    row(DrivingConfig(town=town, cameras=(), imu=True).make(), "IMU", repeats)


def row(env: DrivingEnv, name: str, repeats: int) -> None:
    found = []
    for task in ("day", "night", "fog"):
        env.reset_state(seed=1, task=task)
        found.append(cost_ms(env.observe, repeats))
    print(f"{name:40} {found[0]:8.1f} {found[1]:12.1f} {found[2]:10.1f}", flush=True)
    env.close()


def routes(town: str, count: int) -> None:
    env = DrivingConfig(town=town, render=False).make()
    ends: Counter[str] = Counter()
    for seed in range(count):
        env.reset_state(seed=seed)
        expert, over = env.expert(), False
        while not over:
            _, terminated, truncated, info = env.advance(expert.act())
            over = terminated or truncated
        figures = env.figures()
        kinds = ("collision", "off_road", "timeout")
        ends["arrived" if info["success"] else next(kind for kind in kinds if figures[kind])] += 1
        ends["red lights"] += int(figures["red_lights"])
    low, high = SuccessRate(ends["arrived"], count).interval
    print(
        f"{town:12} the expert finishes {ends['arrived'] / count:.0%} [{low:.0%}, {high:.0%}] of {count}: {dict(ends)}"
    )
    env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towns", default="riverside,hillcrest")
    parser.add_argument("--routes", type=int, default=0, help="routes of the expert in each town")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("libsumo", "mujoco", "numpy"))
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {packages}")
    towns = args.towns.split(",")
    for town in towns:
        steps(town, args.steps)
    suites(towns[0], args.repeats)
    for town in towns if args.routes else ():
        routes(town, args.routes)


if __name__ == "__main__":
    main()
