r"""Does SA-GR notice that an object has been moved? The ratio behind replanning, in the same episodes with and without.

    python benchmarks/sagr_notice.py --checkpoint outputs/sagr/checkpoint_latest metaworld --tasks push-v3,soccer-v3 \
        --disturb_step 20 [--episodes 6] [--seed 700] [--json FILE]

All episodes are played at once, first as they are and then with a disturbance. For the next two looks, the table has
the probability that the ratio of a disturbed episode is above that of an undisturbed one (0.5 is chance), and the share
of disturbed episodes above the threshold that 5% of the others exceed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tempovla
from commands import exit_code_of
from tempovla.control.controller import Controller
from tempovla.env.registry import simulator_class
from tempovla.recipe.evaluation.simulators import evaluate
from tempovla.rollout.evaluate import EvaluationConfig

LOOKS = 2
"""After the disturbance, that are shown."""
FALSE_ALARMS = 0.05


def ratios_of(checkpoint: str, simulator: str, tasks: list[str], config: EvaluationConfig) -> list[np.ndarray]:
    """At every look, the ratio (E,) of each episode, as long as none of them is over."""
    traces: list[np.ndarray] = []
    act = Controller.act

    def watched(self: Controller, context: Any, state: Any) -> Any:
        chunk, after = act(self, context, state)
        if len(context.first) == config.num_envs and (not traces or not bool(context.first.any())):
            report = self.report(after)
            if "rrr_last" not in report:
                raise ValueError(
                    f"--checkpoint={checkpoint} is of a policy that reports no ratio; give one of SA-GR with replanning"
                )
            traces.append(np.array(report["rrr_last"]))
        return chunk, after

    Controller.act = watched  # type: ignore[method-assign]
    try:
        evaluate(checkpoint, simulator, tasks, config)
    finally:
        Controller.act = act  # type: ignore[method-assign]
    return traces


def compared(calm: np.ndarray, disturbed: np.ndarray) -> dict[str, float]:
    """The figures of one look."""
    above = (disturbed[:, None] > calm).mean() + 0.5 * (disturbed[:, None] == calm).mean()
    threshold = float(np.quantile(calm, 1 - FALSE_ALARMS))
    return {
        "episodes": len(calm),
        "calm_median": float(np.median(calm)),
        "disturbed_median": float(np.median(disturbed)),
        "area_under_roc": float(above),
        "threshold": threshold,
        "noticed": float((disturbed > threshold).mean()),
    }


def main() -> None:
    """Play both, and print the table.

    Raises:
        ValueError: in one line, if an option is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulator", choices=("metaworld", "libero"))
    parser.add_argument("--checkpoint", required=True, help="of a policy that remembers, such as one with replanning")
    parser.add_argument("--tasks", help="names, separated by commas; all by default")
    parser.add_argument("--disturb_step", type=int, required=True)
    parser.add_argument("--disturb_shift_m", type=float, default=0.05)
    parser.add_argument("--episodes", type=int, default=6, help="of each task")
    parser.add_argument("--seed", type=int, default=700, help="of the episodes")
    parser.add_argument("--json", help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not Path(options.checkpoint).is_dir():
        what = "is a file" if Path(options.checkpoint).is_file() else "is no folder"
        raise ValueError(
            f"--checkpoint={options.checkpoint} {what}, and an exported file reports no ratios; give the folder of a "
            "checkpoint"
        )
    for name, least in (("episodes", 1), ("disturb_step", 0), ("seed", 0)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name}={getattr(options, name)} must be at least {least}; give more")
    names = simulator_class(options.simulator)().task_names()
    tasks = list(names) if options.tasks is None else options.tasks.split(",")
    if unknown := [task for task in tasks if task not in names]:
        raise ValueError(f"--tasks: {unknown[0]!r} is no task of {options.simulator}; choose from {', '.join(names)}")
    count = options.episodes * len(tasks)
    steps = options.disturb_step + 40
    config = EvaluationConfig(episodes=options.episodes, seed=options.seed, num_envs=count, max_steps=steps)
    moved = {"disturb_step": options.disturb_step, "disturb_shift_m": options.disturb_shift_m}
    runs = [
        ratios_of(options.checkpoint, options.simulator, tasks, EvaluationConfig(**{**vars(config), **more}))
        for more in ({}, moved)
    ]
    k = tempovla.load(options.checkpoint).frame_stride or 1
    first = -(-(options.disturb_step + 1) // k)
    last = min(first + LOOKS, *map(len, runs))
    rows = {look * k: compared(runs[0][look], runs[1][look]) for look in range(first, last)}
    print(
        "| look at step | episodes | ratio, undisturbed | disturbed | area under the ROC | noticed, 5% false alarms |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    for step, row in rows.items():
        cells = (
            f"{row['calm_median']:.2f}",
            f"{row['disturbed_median']:.2f}",
            f"{row['area_under_roc']:.2f}",
            f"{row['noticed']:.0%} (above {row['threshold']:.2f})",
        )
        print(f"| {step} | {row['episodes']} | {' | '.join(cells)} |")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
