"""Search in an episodic memory at its limits, and its size, side by side with comparing every step.

    python benchmarks/episodic_memory.py [--episodes 100] [--length 1000] [--dim 768] [--data smooth walk noise]

Three kinds of stored steps: `smooth` (16 smooth latents through a random network, plus a mean and `--noise` of each
step's length in noise: as features of trajectories are), `walk` (random walks, each in all dimensions) and `noise`
(white: nothing to exploit). Three kinds of queries: `new`, a step of an episode that is not stored; `seen`, a stored
step with a little noise; `random`, white noise. Baselines are a product with every step of every episode, in one thread
(`every step`), and a list that keeps one array a step, which a search stacks (`list of arrays`).

Times are the median and the least of runs taken in turns, in wall time: other work on the machine shows in them. Exact
results are checked against `every step`, to the last bit; of faiss the share of the k best episodes that it finds is
given. Size is that of arrays and indexes of the finished episodes, and what the process grew by, against the raw data
(all steps in float32, `done` one byte). Without faiss its rows are left out.
"""

import argparse
import importlib.util
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

from tempovla.data.episodic import EpisodicMemory

ACTION_DIM = 7
LATENTS = 16
Found = list[tuple[int, int | None, float]]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def smooth(seed: int, length: int, dim: int, noise: float) -> np.ndarray:
    network, random = np.random.default_rng(1), np.random.default_rng((2, seed))
    first = network.normal(size=(LATENTS, 256)) / LATENTS**0.5
    second, mean = network.normal(size=(256, dim)) / 16, 0.5 * network.normal(size=dim)
    latent = random.normal(size=LATENTS)
    for frequency in (1, 2, 3, 5):
        phase = frequency * np.arange(length)[:, None] / length + random.uniform(size=LATENTS)
        latent = latent + random.normal(size=LATENTS) / frequency * np.sin(2 * np.pi * phase)
    steps = np.tanh(latent @ first) @ second + mean
    return steps + noise * np.linalg.norm(steps, axis=1, keepdims=True) / dim**0.5 * random.normal(size=steps.shape)


def walk(seed: int, length: int, dim: int, noise: float) -> np.ndarray:
    random = np.random.default_rng((3, seed))
    return random.normal(size=dim) + 0.1 * random.normal(size=(length, dim)).cumsum(axis=0)


def white(seed: int, length: int, dim: int, noise: float) -> np.ndarray:
    return np.random.default_rng((4, seed)).normal(size=(length, dim))


DATA = {"smooth": smooth, "walk": walk, "noise": white}


def record(memory: EpisodicMemory, episodes: Iterator[np.ndarray]) -> float:
    """Fill a memory, with each episode's number as the reward; the microseconds that a step took to add."""
    spent, steps = 0.0, 0
    for number, obs in enumerate(episodes):
        action = np.zeros((len(obs), ACTION_DIM), np.float32)
        start = time.perf_counter()
        for step in range(len(obs)):
            memory.add_transition(obs[step], action[step], number, step == len(obs) - 1)
        spent, steps = spent + time.perf_counter() - start, steps + len(obs)
    return spent / steps * 1e6


def every_step(episodes: list, query: np.ndarray, k: int) -> Found:
    query = query / np.linalg.norm(query[None], axis=1)
    every = [np.vecdot(episode.keys, query) * episode.inverse_norms for episode in episodes]
    order = np.argsort([-similarity.max() for similarity in every], kind="stable")[:k]
    return [(index, int(every[index].argmax()), float(every[index].max())) for index in order.tolist()]


def naive(stored: list[list[np.ndarray]], query: np.ndarray, k: int, match: str) -> list[int]:
    scores = []
    for steps in stored:
        obs = np.stack(steps)
        cosine = obs @ query / np.linalg.norm(obs, axis=1) / np.linalg.norm(query)
        scores.append(cosine.mean() if match == "episode" else cosine.max())
    return np.argsort(-np.array(scores), kind="stable")[:k].tolist()


def search(memory: EpisodicMemory, query: np.ndarray, k: int, match: str = "step") -> Found:
    return [(int(one.episode.reward[0]), one.step, one.similarity) for one in memory.retrieve_similar(query, k, match)]


def in_turns(runs: dict[str, Callable[[int], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every run, which is given its number."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run(repeat)
            times[name].append((time.perf_counter() - start) * 1e3)
    return times


def report(times: dict[str, list[float]], remarks: dict[str, str]) -> None:
    for name, spent in times.items():
        line = f"  {name:34s} median {statistics.median(spent):9.3f} ms   least {min(spent):9.3f} ms"
        print(line, remarks.get(name, ""), flush=True)


def queries_of(kind: str, episodes: list, options: argparse.Namespace) -> dict[str, np.ndarray]:
    random, dim, count = np.random.default_rng(5), options.dim, 20
    seen = np.stack([episodes[index % len(episodes)].obs[len(episodes[0].obs) // 2] for index in range(count)])
    seen = seen + 0.05 * np.linalg.norm(seen, axis=1, keepdims=True) / dim**0.5 * random.normal(size=seen.shape)
    new = np.stack([DATA[kind](10**6 + seed, 10, dim, options.noise)[5] for seed in range(count)])
    white_noise = random.normal(size=(count, dim))
    return {"new": new.astype(np.float32), "seen": seen.astype(np.float32), "random": white_noise.astype(np.float32)}


def step_matches(memories: dict[str, EpisodicMemory], kind: str, options: argparse.Namespace) -> dict:
    episodes, k, results = list(memories["exact"]._now.episodes), options.k, {}
    for asked, queries in queries_of(kind, episodes, options).items():
        runs: dict[str, Callable[[int], object]] = {"every step": lambda i, q=queries: every_step(episodes, q[i], k)}
        remarks: dict[str, str] = {}
        for index, memory in memories.items():
            runs[f"index={index}"] = lambda i, q=queries, m=memory: m.retrieve_similar(q[i], k, "step")
            runs[f"index={index}, 16 queries"] = lambda i, q=queries, m=memory: m.retrieve_similar(q[:16], k, "step")
            share = 0.0
            for query in queries:
                truth, here = every_step(episodes, query, k), search(memory, query, k)
                assert index != "exact" or truth == here, "the exact search must find the same"
                share += len({one[0] for one in truth} & {one[0] for one in here}) / len(truth) / len(queries)
            remarks[f"index={index}"] = f"  {share:.0%} of the {k} best" if index == "faiss" else ""
        print(f" match=step, {asked} queries:")
        times = in_turns(runs, options.repeats)
        report(times, remarks)
        results[asked] = {"times_ms": times, "remarks": remarks}
    return results


def episode_match(memory: EpisodicMemory, options: argparse.Namespace) -> dict[str, list[float]]:
    data, queries = memory.get_all_transitions(), np.random.default_rng(6).normal(size=(16, options.dim))
    queries, k = queries.astype(np.float32), options.k
    stored = [[row.copy() for row in data["obs"][data["episode"] == index]] for index in range(options.episodes)]
    for match in ("episode", "step"):
        found = [one[0] for one in search(memory, queries[0], k, match)]
        assert found == naive(stored, queries[0], k, match), "both must find the same"
    times = in_turns(
        {
            "match=episode": lambda i: memory.retrieve_similar(queries[0], k),
            "match=episode, 16 queries": lambda i: memory.retrieve_similar(queries, k),
        },
        options.repeats,
    )
    lists = {
        f"list of arrays, match={match}": lambda i, match=match: naive(stored, queries[0], k, match)
        for match in ("episode", "step")
    }
    times |= in_turns(lists, 3)
    report(times, {})
    return times


def files(memory: EpisodicMemory) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        start = time.perf_counter()
        memory.save(path)
        save_s, start = time.perf_counter() - start, time.perf_counter()
        EpisodicMemory.load(path)
        print(f"  save {save_s:.2f} s, load {time.perf_counter() - start:.2f} s")


def measure(kind: str, options: argparse.Namespace) -> dict:
    print(f"{kind}:")
    raw = options.episodes * options.length * (4 * (options.dim + ACTION_DIM + 1) + 1)
    memories, results = {}, {}
    for index in ("exact", "faiss") if importlib.util.find_spec("faiss") else ("exact",):
        before = resident_bytes()
        memory = EpisodicMemory(options.dim, ACTION_DIM, options.episodes, options.length, index=index)
        numbers = range(options.episodes)
        steps = (DATA[kind](n, options.length, options.dim, options.noise).astype(np.float32) for n in numbers)
        add_us = record(memory, steps)
        grown, arrays = resident_bytes() - before, memory.nbytes - memory._now.open.nbytes
        memories[index], results[index] = memory, {"arrays": arrays / raw, "process": grown / raw, "add_us": add_us}
        print(
            f" index={index}: {arrays / raw:.3f} of the raw data ({raw / 2**20:.1f} MiB), process grew by "
            f"{grown / raw:.3f} of it; add_transition {add_us:.1f} us a step"
        )
    results |= step_matches(memories, kind, options)
    if kind == options.data[0]:
        print(" match=episode, and lists:")
        results["episode"] = episode_match(memories["exact"], options)
        files(memories["exact"])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--data", choices=DATA, nargs="+", default=list(DATA))
    parser.add_argument("--noise", type=float, default=0.02, help="of the smooth steps, in their length")
    parser.add_argument("--repeats", type=int, default=20, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape = f"{options.episodes} episodes x {options.length} steps x {options.dim}, k={options.k}"
    threads, load = os.environ["OMP_NUM_THREADS"], os.getloadavg()[0]
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {threads} threads, load {load:.1f}, numpy {np.__version__}; {shape}")
    results = {kind: measure(kind, options) for kind in options.data}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
