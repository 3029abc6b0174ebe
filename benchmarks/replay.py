"""Draws of sequences from a replay that grows, beside the same windows made row by row, and what an append costs.

    python benchmarks/replay.py

The unit is CPU time of this process. Episodes have 100 to 399 steps of 39 state numbers, an action, reward and success.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tempovla.data.replay import ReplaySource
from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.timeline import Embodiment, StreamInfo, Window
from tempovla.timeline.outcomes import outcomes

BATCH, ACTIONS, DRAWS = 256, 4, 20
BODY = Embodiment("arm", 39, 4, 10.0)
STREAMS = {
    "observation.state": StreamInfo("state", (39,), "float32", 10.0),
    "action": StreamInfo("action", (4,), "float32", 10.0),
    "next.reward": StreamInfo("scalar", (1,), "float32", 10.0),
    "next.success": StreamInfo("scalar", (1,), "bool", 10.0),
}
WINDOWS = [Window(key, tuple(range(ACTIONS + (key == "observation.state")))) for key in STREAMS]


def frames(random: np.random.Generator) -> dict[str, np.ndarray]:
    length = int(random.integers(100, 400))
    followed = outcomes(random.normal(size=length), np.zeros(length))
    state, action = (random.normal(size=(length, size)).astype(np.float32) for size in (39, 4))
    return {"observation.state": state, "action": action} | {key: followed[key] for key in list(STREAMS)[2:]}


def cpu_ms(work: Callable[[int], object]) -> float:
    """Median over ten rounds of one call."""
    rounds = []
    for _ in range(10):
        started = time.process_time()
        for number in range(DRAWS):
            work(number)
        rounds.append((time.process_time() - started) / DRAWS * 1e3)
    return statistics.median(rounds)


def row_by_row(replay: ReplaySource, sampler: SequenceSampler, number: int) -> None:
    for episode, step in zip(*sampler.places(number), strict=True):
        for window in WINDOWS:
            replay.read(int(episode), window.key, [int(step) + offset for offset in window.offsets])


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "replay"
        with ReplaySource.create(place, STREAMS, 10.0, BODY, {"task": "push-v3"}) as replay:
            sampler = SequenceSampler(replay, WINDOWS, batch_size=BATCH, length=ACTIONS + 1, seed=0)
            for episodes in (10, 100, 1000):
                before, started = len(replay), time.process_time()
                while len(replay) < episodes:
                    replay.append(frames(random), "push the puck to the goal")
                append_ms = (time.process_time() - started) / (episodes - before) * 1e3
                draw_ms, alone_ms = cpu_ms(sampler.draw), cpu_ms(lambda n: row_by_row(replay, sampler, n))
                print(
                    f"{episodes:5} episodes: draw {draw_ms:.2f} ms, row by row {alone_ms:.1f} ms "
                    f"({alone_ms / draw_ms:.0f}x), append {append_ms:.1f} ms"
                )


if __name__ == "__main__":
    main()
