r"""Does a memory help? One VLA with each way to know the past, on tasks that need it and on tasks that do not.

    tempovla collect memory --tasks colour-cue,hidden-goal,touch-sequence,touch-twice --episodes 100 --out outputs/cues
    tempovla collect metaworld --tasks button-press-topdown-v3,drawer-open-v3,window-open-v3,door-open-v3 \
        --episodes 40 --out outputs/demonstrations
    python benchmarks/memory_policies.py --memory outputs/cues --free outputs/demonstrations --out outputs/memories

For each dataset and seed a VLA of one frame is trained with `configs/vla_memory.yaml`; then, on its frozen features,
each context and a new start of the action head. Every run is `tempovla train vla` and `tempovla eval`, in a folder of
its own. All contexts have the same number of weights within 5%; that of `no history` is an MLP over the present frame.
Stopped, the same call goes on; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from commands import chosen_seeds, exit_code_of, tempovla
from dot_plot import draw_rates
from tempovla.env.memory_tasks import MEMORY_TASKS
from tempovla.recipe.demo import EASY_TASKS
from tempovla.rollout.metrics import SuccessRate
from tempovla.timeline import Bundle

TASKS = ("colour-cue", "hidden-goal", "touch-sequence", "touch-twice")
CONFIG = "configs/vla_memory.yaml"
BASE = "one frame"
BASE_STEPS = {"memory": 4000, "metaworld": 2000}
CONTEXT_STEPS = {"memory": 2500, "metaworld": 1000}
LAYER = {"num_layers": 1, "dropout": 0.0}
CONTEXTS: dict[str, dict[str, Any]] = {
    "no history": {
        "temporal": {"encoder_type": "frames", "frame_offsets": [0], "hidden_dim": 328, "num_layers": 3, "dropout": 0.0}
    },
    "frame sampling": {
        "temporal": {
            "encoder_type": "frames",
            "frame_offsets": [-12, -8, -4, 0],
            "hidden_dim": 268,
            "num_layers": 2,
            "dropout": 0.0,
        }
    },
    "transformer": {"temporal": {"encoder_type": "transformer", "hidden_dim": 184, "num_heads": 4, **LAYER}},
    "lstm": {"temporal": {"encoder_type": "lstm", "hidden_dim": 216, **LAYER}},
    "gru": {"temporal": {"encoder_type": "gru", "hidden_dim": 248, **LAYER}},
    "mamba": {"temporal": {"encoder_type": "mamba", "hidden_dim": 236, **LAYER}},
    "history encoder": {"history": {"hidden_dim": 64, "num_heads": 4, "history_length": 16, **LAYER}},
    "memory buffer": {"memory": {"kind": "buffer", "hidden_dim": 200, "memory_size": 64, "num_heads": 4}},
    "working memory": {"memory": {"kind": "working", "hidden_dim": 216, "memory_slots": 40}},
    "hierarchical memory": {
        "memory": {"kind": "hierarchical", "hidden_dim": 192, "short_term_slots": 8, "long_term_slots": 32}
    },
}


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    folder: Path
    context: str
    seed: int
    simulator: str
    data: str
    tasks: tuple[str, ...]

    @property
    def results(self) -> Path:
        """What the evaluation wrote."""
        return self.folder / "eval" / "results.json"

    @property
    def base(self) -> Run:
        """The policy of one frame whose features are looked at."""
        folder = self.folder.with_name(f"{self.simulator}_{BASE}_{self.seed}".replace(" ", "_"))
        return replace(self, folder=folder, context=BASE)

    def play(self, steps: int | None, episodes: int) -> None:
        """Train and evaluate, as far as that is not done."""
        if self.results.exists():
            return
        checkpoint, done = self.folder / "checkpoint_latest", self.folder / "training.json"
        if not done.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            options = ["--config", str(self._write_recipe(steps)), "--dataset", self.data]
            options += ["--out", str(self.folder), "--json"]
            if checkpoint.exists():
                options += ["--checkpoint", str(checkpoint)]
            elif self.context != BASE:
                options += ["--base-checkpoint", str(self.base.folder / "checkpoint_latest")]
            done.write_text(tempovla("train", "vla", *options, log=self.folder / "train.log"))
        options = ["--checkpoint", str(checkpoint), "--tasks", ",".join(self.tasks), "--episodes", str(episodes)]
        options += ["--execution_horizon", "4", "--workers", "1", "--json", str(self.results)]
        tempovla("eval", self.simulator, *options, log=self.folder / "eval.log")

    def _write_recipe(self, steps: int | None) -> Path:
        """The config of this run."""
        recipe = yaml.safe_load(Path(CONFIG).read_text())
        training, context = recipe["training"], recipe["model"]["context"]
        training["seed"] = self.seed
        if self.context == BASE:
            recipe["model"]["context"] = None
            training |= {"batch_size": 64, "train_steps": BASE_STEPS[self.simulator]}
        else:
            shared = {name: value for name, value in context.items() if name not in ("temporal", "history", "memory")}
            recipe["model"]["context"] = shared | CONTEXTS[self.context] | {"freeze_base": True}
            recipe["data"]["encoding_cache"] = str(self.folder.parent / "encodings")
            recipe["transform"]["shift_px"] = 0
            training |= {"batch_size": 16, "train_steps": steps or CONTEXT_STEPS[self.simulator]}
        file = self.folder / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return file


def rate_of(runs: list[Run], tasks: tuple[str, ...]) -> SuccessRate:
    """Success over the episodes of these tasks, all runs together."""
    episodes = [episode for run in runs for episode in json.loads(run.results.read_text())["episodes"]]
    return SuccessRate.of([episode["success"] for episode in episodes if episode["task"] in tasks])


def figures(rate: SuccessRate) -> dict[str, Any]:
    """A rate as JSON values."""
    return {"success": rate.rate, "ci95": list(rate.interval), "episodes": rate.episodes}


def row_of(runs: list[Run], free: list[Run]) -> dict[str, Any]:
    """The figures of one context; `free` are its runs on tasks that need no memory."""
    weights = Bundle.load(runs[0].folder / "checkpoint_latest").weights
    return {
        "by_task": {task: figures(rate_of(runs, (task,))) for task in TASKS},
        "mean": figures(rate_of(runs, TASKS)),
        **({"free": {task: figures(rate_of(free, (task,))) for task in EASY_TASKS}} if free else {}),
        **({"free_mean": figures(rate_of(free, EASY_TASKS))} if free else {}),
        "training_cpu_s": [json.loads((run.folder / "training.json").read_text())["cpu_seconds"] for run in runs],
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "context_parameters": sum(t.numel() for name, t in weights.items() if name.startswith("context.")),
        "curve": loss_curve(runs[0].folder),
    }


def loss_curve(folder: Path) -> list[tuple[int, float]]:
    """Training steps and the loss of the action head there."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["train_step"], line["action_loss"]) for line in lines if "action_loss" in line]


def percent(rate: dict[str, Any]) -> str:
    """Rate and interval in words."""
    low, high = rate["ci95"]
    return f"{rate['success']:.0%} [{low:.0%}, {high:.0%}]"


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """The table, in Markdown."""
    episodes = next(iter(rows.values()))["by_task"]
    counts = {figure["episodes"] for figure in episodes.values()}
    print(f"{sorted(counts)} episodes of each task; 95% intervals\n")
    print(f"| context | {' | '.join(TASKS)} | memory-free tasks | weights (context) | training, CPU s |")
    print(f"|---|{'---|' * len(TASKS)}---|---|---|")
    for name, row in rows.items():
        cells = [name, *(percent(row["by_task"][task]) for task in TASKS)]
        cells.append(f"{percent(row['free_mean'])} of {row['free_mean']['episodes']}" if "free_mean" in row else "")
        cells.append(f"{row['parameters'] / 1e6:.2f} M ({row['context_parameters'] / 1e6:.2f} M)")
        cells.append(", ".join(f"{seconds:.0f}" for seconds in row["training_cpu_s"]))
        print(f"| {' | '.join(cells)} |")


def draw(rows: dict[str, dict[str, Any]], path: str) -> None:
    """Success of each context by task, beside the chance of one frame."""
    chance = {name: task.chance for name, task in MEMORY_TASKS.items() if name in TASKS}
    draw_rates({name: row["by_task"] for name, row in rows.items()}, path, baselines=["no history"], chance=chance)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", required=True, help="demonstrations of the memory benchmark")
    parser.add_argument("--free", help="demonstrations of tasks that need no memory")
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs")
    parser.add_argument("--contexts", default=",".join(CONTEXTS))
    parser.add_argument("--free-contexts", default="no history,lstm", help="which are tried on memory-free tasks, too")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, help="training steps, other than the config's")
    parser.add_argument("--episodes", type=int, default=30, help="fresh episodes of each task and seed")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, of a thread each")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--png", help="where to draw them")
    options = parser.parse_args()
    seeds = chosen_seeds(options.seeds)
    contexts = options.contexts.split(",")

    def runs_of(name: str, simulator: str, data: str, tasks: tuple[str, ...]) -> list[Run]:
        stem = name.replace(" ", "_")
        return [Run(options.out / f"{simulator}_{stem}_{seed}", name, seed, simulator, data, tasks) for seed in seeds]

    table = {name: runs_of(name, "memory", options.memory, TASKS) for name in contexts}
    free = {name: [] for name in contexts}
    if options.free:
        chosen = [name for name in options.free_contexts.split(",") if name in contexts]
        free |= {name: runs_of(name, "metaworld", options.free, EASY_TASKS) for name in chosen}
    everything = [run for runs in (*table.values(), *free.values()) for run in runs]
    bases = list(dict.fromkeys(run.base for run in everything))
    for stage in (bases, everything):
        with ThreadPoolExecutor(options.jobs) as pool:
            for future in [pool.submit(run.play, options.steps, options.episodes) for run in stage]:
                future.result()
    rows = {name: row_of(runs, free[name]) for name, runs in table.items()}
    print(f"torch {torch.__version__}, {platform.machine()}, one thread a run")
    print_table(rows)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")
    if options.png:
        draw(rows, options.png)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
