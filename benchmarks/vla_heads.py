r"""The same VLA with each of the five action heads: closed-loop success, latency and parameters in one table.

    tempovla collect metaworld --tasks button-press-topdown-v3,drawer-open-v3,window-open-v3,door-open-v3,push-v3 \
        --episodes 40 --out outputs/demonstrations
    python benchmarks/vla_heads.py --data outputs/demonstrations --out outputs/heads [--seeds 0,1,2] [--blind mlp]

Each run is `tempovla train vla` with `configs/vla_metaworld.yaml` and then `tempovla eval metaworld`, in a folder of
its own. Stopped, the same call goes on; what is finished is not done again. The table counts all seeds together.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commands import chosen_seeds, exit_code_of, tempovla
from dot_plot import draw_rates
from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.recipe.demo import EASY_TASKS, HARD_TASK
from tempovla.rollout.metrics import SuccessRate
from tempovla.timeline import Bundle
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

HEADS = ("mlp", "gaussian", "diffusion", "flow_matching", "transformer")
TASKS = (*EASY_TASKS, HARD_TASK)
CONFIG = "configs/vla_metaworld.yaml"
ROUNDS = 30


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    folder: Path
    head: str
    seed: int
    blind: bool

    @property
    def results(self) -> Path:
        """What the evaluation wrote."""
        return self.folder / "eval" / "results.json"

    def play(self, data: str, steps: int | None, episodes: int) -> None:
        """Train and evaluate, as far as that is not done."""
        if self.results.exists():
            return
        checkpoint, done = self.folder / "checkpoint_latest", self.folder / "training.json"
        if not done.exists():
            options = ["--config", CONFIG, "--dataset", data, "--out", str(self.folder), "--json"]
            options += ["--model.action_head", self.head, "--training.seed", str(self.seed)]
            options += ["--transform.blind", "true"] if self.blind else []
            options += ["--training.train_steps", str(steps)] if steps else []
            options += ["--checkpoint", str(checkpoint)] if checkpoint.exists() else []
            done.write_text(tempovla("train", "vla", *options))
        options = ["--checkpoint", str(checkpoint), "--tasks", ",".join(TASKS), "--episodes", str(episodes)]
        tempovla("eval", "metaworld", *options, "--json", str(self.results))


class Decision:
    """What a checkpoint takes to decide for some environments."""

    def __init__(self, checkpoint: Path, environments: int) -> None:
        bundle = Bundle.load(checkpoint)
        random = np.random.default_rng(0)
        self.controller = Controller.from_bundle(bundle)
        self.state = self.controller.initial_state(environments)
        self.builder = ContextBuilder(bundle.windows, bundle.embodiment, environments)
        cameras = [window.key for window in bundle.windows if window.key.startswith(IMAGE_KEY_PREFIX)]
        for row in range(environments):
            observation = {camera: random.integers(0, 256, (128, 128, 3), dtype=np.uint8) for camera in cameras}
            observation[STATE_KEY] = random.normal(size=bundle.embodiment.state_dim).astype(np.float32)
            self.builder.reset(row, bundle.provenance["instructions"][0], observation)

    def cpu_ms(self) -> float:
        """CPU time of one decision for all environments [ms]."""
        started_s = time.process_time()
        _, self.state = self.controller.act(self.builder.context(), self.state)
        return (time.process_time() - started_s) * 1e3


def latencies(runs: dict[str, Run]) -> dict[str, dict[int, float]]:
    """Median CPU time [ms] by head and number of environments, the heads taking turns."""
    torch.set_num_threads(1)
    decisions = {
        (head, count): Decision(run.folder / "checkpoint_latest", count)
        for head, run in runs.items()
        for count in (1, 20)
    }
    taken: dict[tuple[str, int], list[float]] = {key: [] for key in decisions}
    for turn in range(ROUNDS + 3):
        for key, decision in decisions.items():
            cpu_ms = decision.cpu_ms()
            if turn >= 3:
                taken[key].append(cpu_ms)
    return {head: {count: statistics.median(taken[head, count]) for count in (1, 20)} for head in runs}


def rate_of(runs: list[Run], tasks: tuple[str, ...]) -> SuccessRate:
    """Success over the episodes of these tasks, all runs together."""
    episodes = [episode for run in runs for episode in json.loads(run.results.read_text())["episodes"]]
    return SuccessRate.of([episode["success"] for episode in episodes if episode["task"] in tasks])


def row_of(runs: list[Run]) -> dict[str, Any]:
    """The figures of one head."""
    easy, hard = rate_of(runs, EASY_TASKS), rate_of(runs, (HARD_TASK,))
    weights = Bundle.load(runs[0].folder / "checkpoint_latest").weights
    return {
        "easy": {"success": easy.rate, "ci95": list(easy.interval), "episodes": easy.episodes},
        "by_task": {task: rate_of(runs, (task,)).rate for task in TASKS},
        "by_seed": [rate_of([run], EASY_TASKS).rate for run in runs],
        "push": {"success": hard.rate, "ci95": list(hard.interval), "episodes": hard.episodes},
        "training_cpu_s": [json.loads((run.folder / "training.json").read_text())["cpu_seconds"] for run in runs],
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "head_parameters": sum(tensor.numel() for name, tensor in weights.items() if name.startswith("action_head.")),
    }


def percent(rate: dict[str, Any]) -> str:
    """Rate and interval in words."""
    low, high = rate["ci95"]
    return f"{rate['success']:.0%} [{low:.0%}, {high:.0%}] of {rate['episodes']}"


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """The table, in Markdown."""
    print("| head | four tasks | by seed | push | training, CPU s | 1 env, CPU ms | 20 envs | weights (head) |")
    print("|---|---|---|---|---|---:|---:|---|")
    for name, row in rows.items():
        seeds = ", ".join(f"{rate:.0%}" for rate in row["by_seed"])
        cpu_s = ", ".join(f"{seconds:.0f}" for seconds in row["training_cpu_s"])
        one, many = (f"{row['cpu_ms'][count]:.1f}" if "cpu_ms" in row else "" for count in (1, 20))
        weights = f"{row['parameters'] / 1e6:.2f} M ({row['head_parameters'] / 1e6:.2f} M)"
        cells = (name, percent(row["easy"]), seeds, percent(row["push"]), cpu_s, one, many, weights)
        print(f"| {' | '.join(cells)} |")


def draw(rows: dict[str, dict[str, Any]], path: str) -> None:
    """Success of each head on the mean of the easy tasks and on push, beside blind policies."""
    shown = {name: {"mean of the first four": row["easy"], "push": row["push"]} for name, row in rows.items()}
    draw_rates(shown, path, baselines=[name for name in rows if name.endswith(", blind")])


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="demonstrations")
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs")
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--blind", default="", help="heads to train on black pictures, too")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, help="training steps, other than the config's")
    parser.add_argument("--episodes", type=int, default=20, help="fresh episodes of each task and seed")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--png", help="where to draw them")
    options = parser.parse_args()
    seeds = chosen_seeds(options.seeds)
    heads = {head: (head, False) for head in options.heads.split(",") if head}
    heads |= {f"{head}, blind": (head, True) for head in options.blind.split(",") if head}
    table = {
        name: [Run(options.out / f"{head}{'_blind' if blind else ''}_{seed}", head, seed, blind) for seed in seeds]
        for name, (head, blind) in heads.items()
    }
    for turn in range(len(seeds)):
        for runs in table.values():
            runs[turn].folder.mkdir(parents=True, exist_ok=True)
            runs[turn].play(options.data, options.steps, options.episodes)
    rows = {name: row_of(runs) for name, runs in table.items()}
    for head, cpu_ms in latencies({name: runs[0] for name, runs in table.items() if not runs[0].blind}).items():
        rows[head]["cpu_ms"] = cpu_ms
    print(f"torch {torch.__version__}, {platform.machine()}, one thread")
    print_table(rows)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")
    if options.png:
        draw(rows, options.png)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
