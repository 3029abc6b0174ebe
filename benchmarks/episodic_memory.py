"""Search in an episodic memory at its limits, and its size, side by side with a list of arrays.

    python benchmarks/episodic_memory.py [--episodes 100] [--length 1000] [--dim 768] [--json FILE]

The list keeps one array a step, and a search stacks them and compares every step with the query. Times are the median
and the least of runs taken in turns, in wall time: other work on the machine shows in them. Size is that of all arrays
of the finished episodes, and what the process grew by, against the raw data (all steps in float32, `done` one byte).
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

from tempovla.model.temporal.memory_buffer import EpisodicMemory

ACTION_DIM = 7


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def record(episodes: int, length: int, dim: int) -> tuple[EpisodicMemory, float]:
    """A memory full of random walks, with their number as the reward, and the microseconds that a step took to add."""
    memory = EpisodicMemory(dim, ACTION_DIM, episodes, length)
    spent = 0.0
    for seed in range(episodes):
        random = np.random.default_rng(seed)
        walk = random.normal(size=dim) + 0.1 * random.normal(size=(length, dim)).cumsum(axis=0)
        walk, action = walk.astype(np.float32), random.normal(size=(length, ACTION_DIM)).astype(np.float32)
        start = time.perf_counter()
        for step in range(length):
            memory.add_transition(obs=walk[step], action=action[step], reward=seed, done=step == length - 1)
        spent += time.perf_counter() - start
    return memory, spent / (episodes * length) * 1e6


def naive(stored: list[list[np.ndarray]], query: np.ndarray, k: int, match: str) -> list[int]:
    scores = []
    for steps in stored:
        obs = np.stack(steps)
        cosine = obs @ query / np.linalg.norm(obs, axis=1) / np.linalg.norm(query)
        scores.append(cosine.mean() if match == "episode" else cosine.max())
    return np.argsort(-np.array(scores), kind="stable")[:k].tolist()


def in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every run."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    before = resident_bytes()
    memory, add_us = record(options.episodes, options.length, options.dim)
    grown = resident_bytes() - before
    raw = options.episodes * options.length * (4 * (options.dim + ACTION_DIM + 1) + 1)
    finished = [found.episode for found in memory.retrieve_similar(np.ones(options.dim), options.episodes)]
    arrays = sum(episode.nbytes for episode in finished)

    queries = np.random.default_rng(options.episodes).normal(size=(16, options.dim)).astype(np.float32)
    query = queries[0]
    data = memory.get_all_transitions()
    stored = [[row.copy() for row in data["obs"][data["episode"] == index]] for index in range(options.episodes)]
    del data
    for match in ("episode", "step"):
        here = [int(found.episode.reward[0]) for found in memory.retrieve_similar(query, options.k, match)]
        assert here == naive(stored, query, options.k, match), "both must find the same"
    k = options.k
    runs: dict[str, Callable[[], object]] = {
        "match=episode": lambda: memory.retrieve_similar(query, k),
        "match=episode, 16 queries": lambda: memory.retrieve_similar(queries, k),
        "match=step": lambda: memory.retrieve_similar(query, k, "step"),
        "match=step, 16 queries": lambda: memory.retrieve_similar(queries, k, "step"),
    }
    times = in_turns(runs, 20)
    lists = {
        f"list of arrays, match={match}": lambda match=match: naive(stored, query, k, match)
        for match in ("episode", "step")
    }
    times |= in_turns(lists, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        start = time.perf_counter()
        memory.save(path)
        save_s, start = time.perf_counter() - start, time.perf_counter()
        EpisodicMemory.load(path)
        load_s = time.perf_counter() - start

    shape = f"{options.episodes} episodes x {options.length} steps x {options.dim}, k={k}"
    threads = os.environ["OMP_NUM_THREADS"]
    print(f"{platform.processor() or platform.machine()}, {threads} threads, numpy {np.__version__}; {shape}")
    for name, spent in times.items():
        print(f"{name:36s} median {statistics.median(spent):9.3f} ms   least {min(spent):9.3f} ms")
    print(f"arrays {arrays / 2**20:.1f} MiB, {arrays / raw:.3f} of the raw data ({raw / 2**20:.1f} MiB)")
    print(f"process grew by {grown / 2**20:.1f} MiB, {grown / raw:.3f} of the raw data")
    print(f"add_transition {add_us:.1f} us a step; save {save_s:.2f} s, load {load_s:.2f} s")
    if options.json:
        sizes = {"arrays_ratio": arrays / raw, "process_ratio": grown / raw}
        options.json.write_text(json.dumps({"times_ms": times, **sizes, "add_us": add_us}, indent=1))


if __name__ == "__main__":
    main()
