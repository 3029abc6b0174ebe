r"""What a control step of online learning costs, and which part of it takes how long.

    python benchmarks/world_model_step.py
    python benchmarks/world_model_step.py --model.tdmpc.dynamics.activation mish

Further arguments are those of `tempovla train world-model`; with them, a run with the packaged config alone and a run
with these settings take turns. The unit is CPU time of one thread. One update is made for each control step.
"""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from commands import exit_code_of
from tempovla.cli.main import main as command
from tempovla.control.controller import Controller
from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.recipe.online.experience import Experience
from tempovla.training.trainer import Trainer

CONFIG, SEED_STEPS, STEPS, ROUNDS = "world_model_dmc", 500, 200, 3
PARTS: dict[str, tuple[type, str]] = {
    "decision": (Controller, "act"),
    "environment and replay": (Experience, "step"),
    "batch": (SequenceSampler, "draw"),
    "update": (Trainer, "step"),
}
"""By name, the method whose time it is; that of the environment contains the decision."""


def measure(arguments: list[str]) -> dict[str, float]:
    """Learn for some control steps, and return the CPU time of each part of one [ms]."""
    spent = dict.fromkeys(PARTS, 0.0)
    begun: list[float] = []

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            before = time.process_time()
            if name == "decision" and not begun:
                begun.append(before)  # what came before were random actions, and the first update
            result = method(*args, **options)
            if begun:
                spent[name] += time.process_time() - max(before, begun[0])
            return result

        return call

    lengths = {"online.seed_steps": SEED_STEPS, "online.pretrain_updates": 1, "training.train_steps": STEPS + 1}
    settings = [text for name, value in lengths.items() for text in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for name, (owner, method) in PARTS.items():
            stack.enter_context(patch.object(owner, method, timed(name, getattr(owner, method))))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        out = str(Path(folder, "run"))
        code = command(["train", "world-model", "--config", CONFIG, *settings, *arguments, "--out", out, "--json"])
        whole = time.process_time() - begun[0] if begun else 0.0
    if code:
        raise ValueError(f"tempovla train world-model {' '.join(arguments)} failed with exit code {code}")
    spent["environment and replay"] -= spent["decision"]
    spent["logs and checkpoints"] = whole - sum(spent.values())
    return {name: value / STEPS * 1e3 for name, value in spent.items()} | {"whole": whole / STEPS * 1e3}


def main() -> None:
    """Measure, and print a table in Markdown."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print(__doc__)
        return
    logging.disable(logging.WARNING)
    runs: dict[str, list[str]] = {"packaged": [], **({" ".join(given): given} if given else {})}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, arguments in runs.items():
            found[name].append(measure(arguments))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, medians of {ROUNDS} rounds, ms")
    columns = list(found["packaged"][0])
    print(f"| settings | {' | '.join(columns)} | control steps/s |\n|---|{'---:|' * (len(columns) + 1)}")
    for name, rounds in found.items():
        middle = [statistics.median(each[column] for each in rounds) for column in columns]
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in middle)} | {1e3 / middle[-1]:.1f} |")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
