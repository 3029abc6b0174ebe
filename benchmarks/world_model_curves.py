r"""World models learned online in DeepMind Control: return by environment steps, beside published curves.

    python benchmarks/world_model_curves.py --tasks cartpole-swingup,reacher-easy --seeds 0,1,2 --out outputs/curves \
        --json outputs/curves.json --png outputs/curves.png

Each run is `tempovla train world-model`, and each point the mean return of `tempovla eval dmc` with a checkpoint that
the run kept. An environment step is a step of the simulator, of which a control step has two. Stopped, the same call
goes on; what is finished is not done again. Published curves are those of world_model_published.json, which names
their source.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from commands import alone_with, chosen_seeds, exit_code_of, tempovla
from dot_plot import BASELINE, GRID, INK, PAPER, POLICY, SOFT
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text

CONFIG = Path(__file__).resolve().parents[1] / "configs/world_model_dmc.yaml"
PUBLISHED = Path(__file__).with_name("world_model_published.json")
ACTION_REPEAT = 2
COLORS = {"TD-MPC2": BASELINE, "DreamerV3": "#6b7a2f", "SAC": SOFT}

Curve = dict[str, float]
"""Mean return by environment steps."""


def run(task: str, seed: int, folder: Path, options: argparse.Namespace) -> tuple[Curve, float]:
    """Train and evaluate, as far as that is not done; the curve, and the CPU time of the training [s]."""
    done, checkpoint = folder / "training.json", folder / "checkpoint_latest"
    settings = ["--config", str(CONFIG), "--online.task", task, "--training.seed", str(seed), "--out", str(folder)]
    if options.updates is not None:
        settings += ["--training.train_steps", str(options.updates), "--extend", "continue"]
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        settings += ["--checkpoint", str(checkpoint)] if checkpoint.exists() else []
        write_text(done, tempovla("train", "world-model", *settings, "--json"))
    curve: Curve = {}
    for kept in sorted((folder / "checkpoints").glob("step_*")):
        results = folder / "evaluations" / f"{kept.name}.json"
        if not results.exists():
            asked = ["--checkpoint", str(kept), "--episodes", str(options.episodes), "--seed", "1000", "--workers", "1"]
            tempovla("eval", "dmc", *asked, "--tasks", task, "--json", str(results))
        steps = read_json(kept / "trainer.json")["batches"]["experience"]["steps"] * ACTION_REPEAT
        episodes = read_json(results)["episodes"]
        curve[str(steps)] = statistics.fmean(episode["total_reward"] for episode in episodes)
    return curve, read_json(done)["cpu_seconds"]


def draw(found: dict[str, dict[str, Any]], path: str, last: int) -> None:
    """Draw a panel for each task: every seed, and the published means."""
    from matplotlib import pyplot as plt

    published = read_json(PUBLISHED)["tasks"]
    figure, panels = plt.subplots(
        1, len(found), figsize=(4.2 * len(found), 3.4), sharey=True, layout="constrained", squeeze=False
    )
    figure.set_facecolor(PAPER)
    for (task, seeds), panel in zip(found.items(), panels[0], strict=True):
        for method, curves in published.get(task, {}).items():
            steps = sorted({step for curve in curves for step, _ in curve if step <= last})
            means = [statistics.fmean(value for curve in curves for at, value in curve if at == step) for step in steps]
            panel.plot(steps, means, "--", color=COLORS[method], label=f"{method}, published", linewidth=1.2)
        for place, record in enumerate(seeds.values()):
            points = sorted((int(step), value) for step, value in record["curve"].items())
            label = None if place else "ours, a line a seed"
            panel.plot(*zip(*points, strict=True), color=POLICY, marker="o", markersize=3, alpha=0.8, label=label)
        panel.set_title(task, fontsize=10, color=INK, loc="left")
        panel.set(xlabel="environment steps", ylim=(0, 1000), facecolor=PAPER)
        panel.grid(color=GRID)
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0, labelcolor=SOFT)
    panels[0][0].legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")
    panels[0][0].set_ylabel("return of an episode", color=SOFT)
    figure.savefig(path, dpi=130, facecolor=PAPER)


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """The returns at the end, beside the published ones, in Markdown."""
    published = read_json(PUBLISHED)["tasks"]
    print("| task | environment steps | return by seed | mean | TD-MPC2, DreamerV3, SAC | CPU hours of a training |")
    print("|---|---:|---|---:|---|---|")
    for task, seeds in found.items():
        ends = [max(map(int, record["curve"])) for record in seeds.values()]
        values = [record["curve"][str(end)] for record, end in zip(seeds.values(), ends, strict=True)]
        others = []
        for curves in published.get(task, {}).values():
            at = [value for curve in curves for step, value in curve if step == max(ends)]
            others.append(f"{statistics.fmean(at):.0f}" if at else "")
        hours = ", ".join(f"{record['cpu_s'] / 3600:.1f}" for record in seeds.values())
        told = ", ".join(f"{value:.0f}" for value in values)
        cells = (task, f"{max(ends):,}", told, f"{statistics.fmean(values):.0f}", ", ".join(others), hours)
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Run what is missing, print the table, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="cartpole-swingup,reacher-easy", help="names, separated by commas")
    parser.add_argument("--seeds", default="0", help="of the trainings")
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs")
    parser.add_argument("--updates", type=int, help="optimiser steps, other than the config's")
    parser.add_argument("--episodes", type=int, default=10, help="of each evaluation")
    parser.add_argument("--json", required=True, type=Path, help="file of all curves")
    parser.add_argument("--png", help="where to draw them")
    options = parser.parse_args()
    for seed in chosen_seeds(options.seeds):
        for task in options.tasks.split(","):
            curve, cpu_s = run(task, seed, options.out / f"{task}_{seed}", options)
            with alone_with(options.json):
                found = read_json(options.json) if options.json.exists() else {}
                found.setdefault(task, {})[str(seed)] = {"curve": curve, "cpu_s": cpu_s}
                write_text(options.json, json.dumps(found, indent=1) + "\n")
    found = read_json(options.json)
    print_table(found)
    if options.png:
        draw(
            found,
            options.png,
            max(int(step) for seeds in found.values() for each in seeds.values() for step in each["curve"]),
        )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
