"""Samples from an AV1 dataset, shuffled, with four decoded 128 px frames each: this loader beside LeRobot's own.

    python benchmarks/loader.py --lerobot-python PYTHON

PYTHON is the interpreter of an environment with lerobot >= 0.4. Without it only this project's side is measured.
Both sides read the same files with the same windows and make batches; the unit is CPU time a sample, worker
processes included, and the two take turns in one run. The frame cache is off, except in the row that says so.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch

from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.video_encode import VideoConfig
from tempovla.data.writer import DatasetWriter, WriterConfig, infer_features
from tempovla.timeline import Window

FPS, LENGTH, SIZE = 10, 100, 128
CAMERAS = ("observation.images.front", "observation.images.wrist")
WINDOWS = (
    *(Window(camera, (0, 4)) for camera in CAMERAS),
    Window("observation.state", (0,)),
    Window("action", tuple(range(16))),
)
BATCH = 20
NO_CACHE, SMALL_CACHE, LARGE_CACHE = 1 << 20, 16 << 20, 1 << 30  # the first holds the columns of numbers


def record(root: Path, episodes: int) -> None:
    """Moving gradients with noise, encoded as LeRobot does by default: AV1, a key frame every second frame."""
    generator = np.random.default_rng(0)
    config = WriterConfig(video=VideoConfig("libsvtav1", crf=30, gop=2, preset="12"))
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    writer = None
    for episode in range(episodes):
        frames = {}
        for number, camera in enumerate(CAMERAS):
            moving = [
                np.stack([2 * x + 7 * episode + 2 * t, 3 * y + t, x + y + 3 * t + 50 * number], axis=-1) % 256
                for t in range(LENGTH)
            ]
            noise = generator.integers(-8, 9, (LENGTH, SIZE, SIZE, 3))
            frames[camera] = np.clip(np.stack(moving) + noise, 0, 255).astype(np.uint8)
        for key in ("observation.state", "action"):
            frames[key] = generator.normal(size=(LENGTH, 7)).astype(np.float32)
        writer = writer or DatasetWriter(root, infer_features(frames), FPS, config=config)
        writer.add_episode(frames, "benchmark")
    assert writer is not None
    writer.close()


def cpu_s() -> float:
    """CPU time of this process and of the children it has waited for [s]."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def make_loader(root: Path, workers: int, cache_bytes: int) -> SampleLoader:
    mixture = Mixture([open_dataset(root, cache_bytes=cache_bytes)])
    return SampleLoader(mixture, WINDOWS, LoaderConfig(BATCH, workers, preload_bytes=0), seed=0)


def time_ours(root: Path, workers: int, samples: int) -> float:
    """CPU seconds a sample, from the first batch on."""
    loader = make_loader(root, workers, NO_CACHE)
    start = cpu_s()
    for _ in islice(loader, samples // BATCH):
        pass
    del loader
    gc.collect()
    return (cpu_s() - start) / samples


def time_warm(root: Path, samples: int) -> float:
    """CPU seconds a sample once every frame is in the cache."""
    loader = make_loader(root, 0, LARGE_CACHE)
    batches = iter(loader)
    for _ in range(2 * loader.batches_per_epoch):
        next(batches)
    start = cpu_s()
    for _ in range(samples // BATCH):
        next(batches)
    return (cpu_s() - start) / samples


def resident_mb(pids: list[int]) -> float:
    """Memory that processes hold by themselves, without what they share with others [MB]."""
    fields = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    lines = [line.split() for text in fields for line in text.splitlines() if line.startswith("Private_")]
    return sum(int(line[1]) for line in lines) / 1024


def memory_by_epoch(root: Path, workers: int, epochs: int = 3) -> list[float]:
    """Private memory of the process and its workers after each epoch [MB], frames cached in a small budget."""
    loader = make_loader(root, workers, SMALL_CACHE)
    batches = iter(loader)
    memory = []
    for _ in range(epochs):
        for _ in range(loader.batches_per_epoch):
            next(batches)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        memory.append(resident_mb([os.getpid(), *map(int, children)]))
    return memory


class LeRobot:
    """The other side, in its own interpreter, with one backend and one number of workers."""

    def __init__(self, python: str, root: Path, backend: str, workers: int) -> None:
        windows = {window.key: [offset / FPS for offset in window.offsets] for window in WINDOWS}
        script = Path(__file__).resolve().parent / "lerobot_loader.py"
        command = [python, str(script), str(root), backend, json.dumps(windows), str(BATCH), str(workers)]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment["HF_HUB_OFFLINE"] = "1"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, env=environment, **pipes)
        self.versions = json.loads(self._answer())

    def time(self, samples: int) -> float:
        """CPU seconds a sample."""
        self._process.stdin.write(f"{samples}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the other interpreter."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        while line := self._process.stdout.readline():
            if line[0] in "{0123456789":
                return line
        raise SystemExit("LeRobot's side ended; run benchmarks/lerobot_loader.py by hand to see why")


def compare(root: Path, python: str | None, rounds: int, samples: int) -> None:
    """Print medians over rounds in which the two sides take turns, and their ratios."""
    times: dict[str, list[float]] = {}
    for workers in (0, 2):
        others = {backend: LeRobot(python, root, backend, workers) for backend in ("pyav", "torchcodec") if python}
        if others and not workers:
            print(f"other side: {others['pyav'].versions}")
        measured: dict[str, list[float]] = {"tempovla": [], **{f"lerobot, {backend}": [] for backend in others}}
        for _ in range(rounds):
            measured["tempovla"].append(time_ours(root, workers, samples))
            for backend, other in others.items():
                measured[f"lerobot, {backend}"].append(other.time(samples))
        for other in others.values():
            other.close()
        for name, values in measured.items():
            times.setdefault(name, []).append(statistics.median(values))
    warm = statistics.median(time_warm(root, 10 * samples) for _ in range(rounds))
    print(f"\n{'CPU ms a sample':34}{'one process':>14}{'two workers':>14}")
    for name, (one, two) in times.items():
        print(f"{name:34}{1e3 * one:14.2f}{1e3 * two:14.2f}")
    print(f"{'tempovla, frame cache warm':34}{1e3 * warm:14.2f}")
    ours = times.pop("tempovla")
    for name, (one, two) in times.items():
        print(f"ratio to {name:25}{one / ours[0]:13.1f}x{two / ours[1]:13.1f}x   warm {one / warm:.0f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lerobot-python", help="interpreter of an environment with lerobot >= 0.4")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "set")
        record(root, options.episodes)
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {sys.version.split()[0]}"
        )
        print(f"torch {torch.__version__}, av {av.__version__}")
        print(f"{options.episodes} episodes of {LENGTH} frames, {len(CAMERAS)} cameras of {SIZE} px, 2 frames each")
        compare(root, options.lerobot_python, options.rounds, options.samples)
        for workers in (0, 2):
            memory = ", ".join(f"{value:.0f}" for value in memory_by_epoch(root, workers))
            print(f"private memory after epochs 1, 2, 3 with {workers} workers [MB]: {memory}")


if __name__ == "__main__":
    main()
