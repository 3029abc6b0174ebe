"""Memories over a training sequence: all steps at once, side by side with one after the other, forward and backward.

    python benchmarks/memory_sequence.py [--json FILE] [--runs 1]

CPU time on one thread, the least of a few runs taken in turns, and an LSTM of as many features for comparison. States
are new, or full: carried over from an earlier sequence, so that every step overwrites or consolidates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig
from tempovla.model.temporal.memory.explicit import ExplicitMemory
from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory
from tempovla.model.temporal.memory.working import WorkingMemory

Build = Callable[[], ExplicitMemory[Any, Any]]
CASES: list[tuple[str, Build, int, int, bool]] = [  # memory, batch, steps, whether the state is full
    ("buffer, 1000 slots", lambda: MemoryBuffer(MemoryConfig(256, value_dim=256)), 16, 37, False),
    ("buffer, 1000 slots", lambda: MemoryBuffer(MemoryConfig(256, value_dim=256)), 16, 148, False),
    ("working, 32 slots", lambda: WorkingMemory(256, 32), 16, 37, False),
    ("working, 40 slots", lambda: WorkingMemory(216, 40), 32, 37, False),
    ("working, 40 slots", lambda: WorkingMemory(216, 40), 32, 37, True),
    ("hierarchical, 8 + 32", lambda: HierarchicalMemory(192, 8, 32), 32, 37, False),
    ("hierarchical, 8 + 32", lambda: HierarchicalMemory(192, 8, 32), 32, 37, True),
    ("working, 32 slots", lambda: WorkingMemory(256, 32), 16, 128, False),
    ("hierarchical, 32 + 256", lambda: HierarchicalMemory(256, 32, 256), 16, 128, False),
    ("hierarchical, 32 + 256", lambda: HierarchicalMemory(256, 32, 256), 16, 16, True),
]


def by_steps(memory: ExplicitMemory[Any, Any], x: Tensor, state: Any) -> Tensor:
    """What `forward` gives, step by step."""
    outputs = []
    for frame in x.unbind(1):
        output, state = memory.step(frame, state)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def at_once(memory: ExplicitMemory[Any, Any], x: Tensor, state: Any) -> Tensor:
    """What `forward` gives."""
    return memory(x, state)[0]


def full_state(memory: ExplicitMemory[Any, Any], batch: int) -> Any:
    """A state in which no slot is empty."""
    with torch.no_grad():
        state = memory(torch.randn(batch, 320, memory.hidden_dim))[1]
    assert (state.filled if isinstance(memory, WorkingMemory) else state.long.filled).all()
    return state


def timed(outputs: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """CPU seconds of forward and backward, and the outputs."""
    start = time.process_time()
    found = outputs()
    found.square().mean().backward()
    return time.process_time() - start, found.detach()


def compare(build: Build, batch: int, steps: int, full: bool, runs: int) -> dict[str, float]:
    """CPU seconds of a sequence at once, step by step, and of an LSTM."""
    torch.manual_seed(0)
    memory = build()
    width = memory.hidden_dim
    state = full_state(memory, batch) if full else memory.initial_state(batch)
    x = torch.randn(batch, steps, width, requires_grad=True)
    lstm = nn.LSTM(width, width, batch_first=True)
    timed(lambda: at_once(memory, x, state))
    seconds: dict[str, list[float]] = {"by_steps": [], "at_once": [], "lstm": []}
    for _ in range(runs):
        spent, expected = timed(lambda: by_steps(memory, x, state))
        seconds["by_steps"].append(spent)
        for _ in range(3):
            spent, actual = timed(lambda: at_once(memory, x, state))
            seconds["at_once"].append(spent)
            seconds["lstm"].append(timed(lambda: lstm(x)[0])[0])
    least = {name: min(values) for name, values in seconds.items()}
    difference = ((expected - actual).abs().max() / expected.abs().max()).item()
    return least | {"times_faster": least["by_steps"] / least["at_once"], "outputs_differ_by": difference}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="of the steps; three of the others to each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, python {platform.python_version()}, torch {torch.__version__}, one thread")
    print(f"{'CPU s, forward + backward':34}{'state':>6}{'steps':>8}{'at once':>9}{'ratio':>7}{'LSTM':>7}{'differ':>9}")
    rows = []
    for name, build, batch, steps, full in CASES:
        row = compare(build, batch, steps, full, options.runs)
        rows.append({"memory": name, "batch": batch, "steps": steps, "full": full} | row)
        print(
            f"{f'{name}, {batch} x {steps}':34}{'full' if full else 'new':>6}{row['by_steps']:8.3f}"
            f"{row['at_once']:9.3f}{row['times_faster']:6.1f}x{row['lstm']:7.3f}{row['outputs_differ_by']:9.0e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
