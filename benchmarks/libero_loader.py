"""Shuffled samples from LIBERO's HDF5 files: this loader beside plain h5py and robomimic's reader.

    python benchmarks/libero_loader.py --robomimic-python PYTHON

PYTHON is the interpreter of an environment with robomimic 0.2, with which LIBERO trains; without it that row is left
out. All sides read the same file from the disk's cache and make the same batches; the unit is CPU time a sample, and
the sides take turns in one run. Pictures are asked for as the two phases of StateVLA do, and ten steps long, as
LIBERO's own policies do. robomimic gives floats, so the last rows turn ours into floats, too;
TempoVLA leaves that to the device.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tempovla.data.libero_hdf5 import open_libero
from tempovla.data.libero_layout import CAMERAS
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.timeline import TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

LENGTH, SIZE, HORIZON, BATCH = 150, 128, 10, 32
ROBOMIMIC = Path(__file__).resolve().parent / "robomimic_loader.py"


def record(folder: Path, episodes: int) -> Path:
    """Noise in LIBERO's layout, not packed, as LIBERO's files are; returns the file."""
    generator = np.random.default_rng(0)
    with LiberoHdf5Writer(folder) as writer:
        for _ in range(episodes):
            steps = {camera: generator.integers(0, 256, (LENGTH, SIZE, SIZE, 3), np.uint8) for camera in CAMERAS}
            steps |= {STATE_KEY: generator.normal(size=(LENGTH, 9)), ACTION_KEY: generator.normal(size=(LENGTH, 7))}
            writer.add_episode("benchmark", "benchmark", steps)
    return folder / "benchmark_demo.hdf5"


class PlainReader(Dataset):
    """What one writes first: a sample is sliced out of the file that is kept open."""

    def __init__(self, path: Path, pictures: Sequence[int]) -> None:
        self._data = h5py.File(path, "r")["data"]
        self._pictures = np.array(pictures)
        self._index = [(demo, step) for demo in self._data for step in range(len(self._data[demo]["actions"]))]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        name, now = self._index[index]
        demo, obs = self._data[name], self._data[name]["obs"]
        last = len(demo["actions"]) - 1
        actions = np.minimum(np.arange(now, now + HORIZON), last)
        sample = {"valid": np.arange(now, now + HORIZON) <= last}
        sample["action"] = demo["actions"][now : now + HORIZON].astype(np.float32)[actions - now]
        sample["state"] = np.concatenate([obs["joint_states"][now], obs["gripper_states"][now]]).astype(np.float32)
        steps = np.minimum(now + self._pictures, last)
        for camera in CAMERAS.values():
            pictures = obs[camera][now : steps[-1] + 1]
            sample[camera] = np.ascontiguousarray(pictures[steps - now][:, ::-1])
        return sample


def cpu_s() -> float:
    """CPU time of this process [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(batches: object, samples: int) -> float:
    """CPU seconds a sample."""
    start = cpu_s()
    for _ in islice(iter(batches), samples // BATCH):  # type: ignore[call-overload]
        pass
    return (cpu_s() - start) / (samples // BATCH * BATCH)


def ours(path: Path, pictures: Sequence[int], preload_bytes: int = 0) -> SampleLoader:
    windows = [Window(camera, tuple(pictures)) for camera in CAMERAS]
    windows += [Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(HORIZON)))]
    config = LoaderConfig(BATCH, 0, preload_bytes)
    return SampleLoader(Mixture([open_libero(path)]), windows, config, seed=0)


class AsFloats:
    """Batches with pictures (B, T, 3, H, W) float32 in [0, 1]."""

    def __init__(self, loader: SampleLoader) -> None:
        self._loader = loader

    def __iter__(self):
        for sample in self._loader:
            yield [self._floats(sample, camera) for camera in CAMERAS]

    def _floats(self, sample: TimelineSample, camera: str) -> torch.Tensor:
        parts = [group[camera].value for group in (sample.context.now, sample.future) if camera in group]
        return torch.cat(parts, dim=1).permute(0, 1, 4, 2, 3).float() / 255


class Robomimic:
    """The other side, in its own interpreter."""

    def __init__(self, python: str, path: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [python, str(ROBOMIMIC), str(path), str(HORIZON), str(BATCH)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, env=environment, **pipes)

    def time(self, samples: int) -> float:
        """CPU seconds a sample."""
        self._process.stdin.write(f"{samples}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the other interpreter."""
        self._process.stdin.close()
        self._process.wait()


def compare(title: str, sides: dict[str, Callable[[], float]], rounds: int) -> None:
    """Print medians over rounds in which the sides take turns, and their ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side())
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    print(f"\n{title}\n{'':36}{'CPU ms a sample':>16}{'ratio':>8}")
    for name, value in medians.items():
        print(f"{name:36}{1e3 * value:16.3f}{value / first:7.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robomimic-python", help="interpreter of an environment with robomimic 0.2")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=640)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {sys.version.split()[0]}")
    print(f"torch {torch.__version__}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
    print(f"{options.episodes} demonstrations of {LENGTH} steps, 2 cameras of {SIZE} px, batches of {BATCH}")
    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder), options.episodes)
        start = cpu_s()
        open_libero(path)
        print(f"opening and checking all of them: {1e3 * (cpu_s() - start) / options.episodes:.2f} CPU ms each")
        for title, pictures in (("pictures now (phase 2)", (0,)), ("pictures now and next (phase 1)", (0, 1))):
            plain = DataLoader(PlainReader(path, pictures), BATCH, shuffle=True)
            sides = {
                "tempovla": partial(timed, ours(path, pictures), options.samples),
                "tempovla, preloaded": partial(timed, ours(path, pictures, 4 << 30), options.samples),
                "plain h5py": partial(timed, plain, options.samples),
            }
            compare(title, sides, options.rounds)
        if options.robomimic_python:
            other = Robomimic(options.robomimic_python, path)
            samples = options.samples // 4
            sides = {
                "tempovla": partial(timed, AsFloats(ours(path, range(HORIZON))), samples),
                "tempovla, left as bytes": partial(timed, ours(path, range(HORIZON)), samples),
                "robomimic": partial(other.time, samples),
            }
            compare(f"pictures of {HORIZON} steps, as floats", sides, options.rounds)
            other.close()


if __name__ == "__main__":
    main()
