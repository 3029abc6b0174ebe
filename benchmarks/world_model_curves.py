r"""World models learned online: return or success by environment steps; for DeepMind Control, beside published curves.

    python benchmarks/world_model_curves.py --tasks cartpole-swingup,reacher-easy --seeds 0,1,2 --out outputs/curves \
        --json outputs/curves.json --png outputs/curves.png
    python benchmarks/world_model_curves.py --env metaworld --tasks drawer-open-v3 --out outputs/curves \
        --json outputs/curves.json --png outputs/success.png

Each run is `tempovla train world-model`, and each point what `tempovla eval` finds with a checkpoint that the run kept:
the mean return in DeepMind Control, and the success rate in Meta-World. An environment step is a step of the simulator:
a control step has two of them in DeepMind Control, and is one in Meta-World. Stopped, the same call goes on; what is
finished is not done again. `--only-draw` runs nothing, and shows what the JSON file holds. Published curves are those
of world_model_published.json, which names their source.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import REMEDY, alone_with, chosen_seeds, exit_code_of, tempovla
from dot_plot import BASELINE, GRID, INK, PAPER, POLICY, SOFT
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PUBLISHED = Path(__file__).with_name("world_model_published.json")
RUN_AGAIN = "remove it, and run this again"
ON_THE_WAY, END = "1000", "2000"
"""Seeds of the episodes: settings were chosen by those on the way, so the end of a run is judged on others."""
COLORS = {"TD-MPC2": BASELINE, "DreamerV3": "#6b7a2f", "SAC": SOFT}

Curve = dict[str, float]
"""Mean return or success rate by environment steps."""
Found = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By task and seed, the `curve` and `cpu_s`, the CPU time of the training [s]."""


@dataclass(frozen=True)
class Place:
    """Where runs learn, and what their curves show.

    Attributes:
        config: that runs are trained with.
        tasks: that are run by default.
        action_repeat: environment steps of a control step.
        figure: name of what counts of an episode in `results.json`.
        label: what its mean is called in the table.
        axis: what it is called in the picture.
        top: the highest value that it can have.
        form: how it is written.
        others: methods with published curves.
    """

    config: str
    tasks: str
    action_repeat: int
    figure: str
    label: str
    axis: str
    top: float
    form: str
    others: tuple[str, ...] = ()


PLACES = {
    "dmc": Place(
        config="world_model_dmc.yaml",
        tasks="cartpole-swingup,reacher-easy",
        action_repeat=2,
        figure="total_reward",
        label="return",
        axis="return of an episode",
        top=1000.0,
        form=".0f",
        others=tuple(COLORS),
    ),
    "metaworld": Place(
        config="world_model_metaworld.yaml",
        tasks="drawer-open-v3",
        action_repeat=1,
        figure="success",
        label="success",
        axis="success rate",
        top=1.0,
        form=".0%",
    ),
}


def run(env: str, task: str, seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate, as far as that is not done; what the JSON file keeps of it."""
    done, checkpoint = folder / "training.json", folder / "checkpoint_latest"
    config = str(CONFIGS / PLACES[env].config)
    settings = ["--config", config, "--online.task", task, "--training.seed", str(seed), "--out", str(folder)]
    if options.updates is not None:
        settings += ["--training.train_steps", str(options.updates), "--extend", "continue"]
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        settings += ["--checkpoint", str(checkpoint)] if checkpoint.exists() else []
        write_text(done, tempovla("train", "world-model", *settings, "--json"))
    all_kept = sorted((folder / "checkpoints").glob("step_*"))
    for kept in all_kept:
        if not results_of(kept).exists():
            episodes, begins = (options.episodes, END) if kept == all_kept[-1] else (options.curve_episodes, ON_THE_WAY)
            asked = ["--checkpoint", str(kept), "--episodes", str(episodes), "--seed", begins, "--workers", "1"]
            tempovla("eval", env, *asked, "--tasks", task, "--json", str(results_of(kept)))
    record = {"curve": curve_of(folder, PLACES[env]), "cpu_s": read_json(done, remedy=RUN_AGAIN)["cpu_seconds"]}
    return record if env == "dmc" else record | {"env": env}


def results_of(checkpoint: Path) -> Path:
    """Where the evaluation of a checkpoint that a run kept is written."""
    return checkpoint.parents[1] / "evaluations" / f"{checkpoint.name}.json"


def curve_of(folder: Path, place: Place) -> Curve:
    """The curve of a run, by its checkpoints that were evaluated."""
    curve: Curve = {}
    for kept in sorted((folder / "checkpoints").glob("step_*")):
        if results_of(kept).exists():
            trainer = read_json(kept / "trainer.json", remedy=RUN_AGAIN)
            episodes = read_json(results_of(kept), remedy=RUN_AGAIN)["episodes"]
            steps = trainer["batches"]["experience"]["steps"] * place.action_repeat
            curve[str(steps)] = statistics.fmean(episode[place.figure] for episode in episodes)
    return curve


def published_curves() -> dict[str, dict[str, list[list[list[float]]]]]:
    """By task and method, the points (environment steps, return) of each seed."""
    return read_json(PUBLISHED, remedy="check it out again")["tasks"]


def found_in(path: Path, env: str) -> dict[str, dict[str, Any]]:
    """What a JSON file holds of one environment; those of DeepMind Control do not say so. Empty curves are left out.

    Raises:
        ValueError: in one line, if it holds something else.
    """
    found: dict[str, dict[str, Any]] = {}
    for task, seeds in (read_json(path, remedy=REMEDY) if path.exists() else {}).items():
        for seed, record in seeds.items() if isinstance(seeds, dict) else [("", None)]:
            if not isinstance(record, dict) or not isinstance(record.get("curve"), dict) or "cpu_s" not in record:
                raise ValueError(f"{path}: {task!r} holds no curves of seeds; {REMEDY}")
            if record["curve"] and record.get("env", "dmc") == env:
                found.setdefault(task, {})[seed] = record
    return found


def draw(found: Found, path: str, place: Place) -> None:
    """Draw a panel for each task: every seed, and the published means as far as the longest curve of a seed goes.

    Where no run has finished, the published curves are drawn as a whole.
    """
    from matplotlib import pyplot as plt

    published = published_curves()
    last = max((int(step) for seeds in found.values() for each in seeds.values() for step in each["curve"]), default=0)
    width = 4.2 * len(found)
    figure, panels = plt.subplots(
        1, len(found), figsize=(width, 3.4), sharey=True, layout="constrained", squeeze=False, facecolor=PAPER
    )
    for (task, seeds), panel in zip(found.items(), panels[0], strict=True):
        for method, curves in published.get(task, {}).items() if place.others else ():
            steps = sorted({step for curve in curves for step, _ in curve if step <= last or not last})
            means = [statistics.fmean(value for curve in curves for at, value in curve if at == step) for step in steps]
            panel.plot(steps, means, "--", color=COLORS[method], label=f"{method}, published", linewidth=1.2)
        for index, record in enumerate(seeds.values()):
            points = sorted((int(step), value) for step, value in record["curve"].items())
            label = None if index else "ours, a line a seed"
            panel.plot(*zip(*points, strict=True), color=POLICY, marker="o", markersize=3, alpha=0.8, label=label)
        panel.set_title(task, fontsize=10, color=INK, loc="left")
        panel.set(xlabel="environment steps", ylim=(0, place.top), facecolor=PAPER)
        panel.grid(color=GRID)
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0, labelcolor=SOFT)
    if panels[0][0].get_legend_handles_labels()[0]:
        panels[0][0].legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")
    panels[0][0].set_ylabel(place.axis, color=SOFT)
    figure.savefig(path, dpi=130, facecolor=PAPER)


def print_table(found: Found, place: Place) -> None:
    """The values at the end, beside the published ones where there are, in Markdown."""
    published = published_curves()
    names = ["task", "environment steps", f"{place.label} by seed", "mean"]
    names += [", ".join(place.others)] if place.others else []
    print(f"| {' | '.join([*names, 'CPU hours of a training'])} |")
    print(f"|---|---:|---|---:|{'---|' * (len(names) - 3)}")
    for task, seeds in found.items():
        if not seeds:
            print(f"| {' | '.join([task, '', 'no run has finished', *[''] * (len(names) - 2)])} |")
            continue
        ends = [max(map(int, record["curve"])) for record in seeds.values()]
        values = [record["curve"][str(end)] for record, end in zip(seeds.values(), ends, strict=True)]
        told = ", ".join(f"{value:{place.form}}" for value in values)
        cells = [task, f"{max(ends):,}", told, f"{statistics.fmean(values):{place.form}}"]
        if place.others:
            others = []
            for curves in published.get(task, {}).values():
                at = [value for curve in curves for step, value in curve if step == max(ends)]
                others.append(f"{statistics.fmean(at):.0f}" if at else "")
            cells.append(", ".join(others))
        cells.append(", ".join(f"{record['cpu_s'] / 3600:.1f}" for record in seeds.values()))
        print(f"| {' | '.join(cells)} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print the table, and draw the curves.

    Raises:
        ValueError: in one line, if an option is wrong, a file is damaged, or a command fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=sorted(PLACES), default="dmc", help="where to learn")
    parser.add_argument("--tasks", help="names, separated by commas")
    parser.add_argument("--seeds", default="0", help="of the trainings")
    parser.add_argument("--out", type=Path, help="folder of all runs")
    parser.add_argument("--updates", type=int, help="optimiser steps, other than the config's")
    parser.add_argument("--episodes", type=int, default=50, help="of the evaluation at the end of a run")
    parser.add_argument("--curve-episodes", type=int, default=5, help="of each evaluation before it")
    parser.add_argument("--json", required=True, type=Path, help="file of all curves")
    parser.add_argument("--png", help="where to draw those of --env")
    parser.add_argument("--only-draw", action="store_true", help="show what the JSON file holds, and run nothing")
    options = parser.parse_args(arguments)
    place, env = PLACES[options.env], options.env
    tasks = [task for task in (options.tasks or place.tasks).split(",") if task]
    if options.only_draw and not options.json.is_file():
        raise ValueError(f"--json={options.json}: no such file; give that of runs, or run some without --only-draw")
    if not options.only_draw and options.out is None:
        raise ValueError("--out is needed to run something; give a folder, or --only-draw what the --json file holds")
    found_in(options.json, env)  # a file of something else is refused before anything is run
    for seed in () if options.only_draw else chosen_seeds(options.seeds):
        for task in tasks:
            record = run(env, task, seed, options.out / f"{task}_{seed}", options)
            with alone_with(options.json):
                known = read_json(options.json, remedy=REMEDY) if options.json.exists() else {}
                known.setdefault(task, {})[str(seed)] = record
                write_text(options.json, json.dumps(known, indent=1) + "\n")
    found = found_in(options.json, env)
    asked = tasks if options.tasks or not found else []
    found |= {task: {} for task in asked if task not in found}
    print_table(found, place)
    if options.png:
        draw(found, options.png, place)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
