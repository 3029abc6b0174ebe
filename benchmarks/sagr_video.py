r"""What SA-GR learns from video: few demonstrations, alone and beside the same tasks recorded without actions.

    tempovla collect metaworld --depth true --episodes 40 --seed 0 --out outputs/demonstrations \
        --tasks coffee-push-v3,hammer-v3,pick-place-v3,plate-slide-v3,push-back-v3,push-v3,soccer-v3,sweep-into-v3
    python benchmarks/sagr_video.py --data outputs/demonstrations --out outputs/video --seeds 0,1,2 \
        --json outputs/video.json --png outputs/video.png

The first `--demos` episodes of each task keep their actions. All episodes without their actions are the video. An arm
with the video trains on batches of twice the size, half of them video, so that each arm sees as many rows with actions
in as many steps. Every arm plays the same episodes, as in `sagr_arms.py`. Stopped, the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from commands import chosen_seeds, exit_code_of, tempovla
from dot_plot import draw_rates
from sagr_arms import (
    CALM,
    FLOW,
    OFF,
    PLACES,
    Run,
    add_options,
    print_table,
    record_of,
    row_of,
)
from sagr_records import Store
from tempovla.storage.whole import write_text

ALL = "flow matching alone, all demonstrations"
INVERSE = "+ video, by an inverse model"
PREDICTED = "+ video, by prediction"
ARMS: dict[str, dict[str, Any]] = {
    FLOW: OFF,
    INVERSE: {**OFF, "model.inverse_weight": 1.0},
    PREDICTED: {
        **OFF,
        "model.loss_w_dyn": 1.0,
        "model.world_target": "vision",
        "model.world_target_encoder": "ema",
        "model.world_condition": "tokens",
    },
    ALL: OFF,
}
"""By name, how an arm differs from the config; those with a video are named so."""
PLACE, CHUNK, K = PLACES["metaworld"], 16, 8


@dataclass(frozen=True)
class VideoRun(Run):
    """One training on a few demonstrations, with or without the video, and its evaluations."""

    demos: int = 5

    def train(self, data: str, steps: int) -> None:
        """Train, as far as that is not done."""
        done, checkpoint = self.folder / "training.json", self.folder / "checkpoint_latest"
        if done.exists():
            return
        config = yaml.safe_load(PLACE.config_file.read_text())
        robot = {"data_directory": str(Path(data).absolute()), "name": "robot", "demos_per_task": self.demos}
        config["data"]["mixture"] = [robot, {**robot, "name": "video", "demos_per_task": None, "actions": False}]
        config["training"]["batch_size"] *= 2
        made = self.folder.with_suffix(".yaml")
        made.parent.mkdir(parents=True, exist_ok=True)
        write_text(made, yaml.safe_dump(config))
        options = ["--config", str(made), "--out", str(self.folder), "--json"]
        options += ["--training.seed", str(self.seed), "--training.train_steps", str(steps)]
        options += [word for key, value in self.settings.items() for word in (f"--{key}", json.dumps(value).strip('"'))]
        options += ["--checkpoint", str(checkpoint)] if checkpoint.exists() else []
        write_text(done, tempovla("train", "sagr", *options))


def run_of(name: str, options: argparse.Namespace, seed: int) -> tuple[Run, dict[str, Any]]:
    """The training of an arm, and the settings of its evaluations."""
    folder = options.out / f"video_{options.steps}_{options.demos}_{list(ARMS).index(name)}_{seed}"
    plays: dict[str, Any] = {"execution_horizon": K}
    if "video" in name:
        return VideoRun(folder, PLACE, ARMS[name], seed, options.demos), {**plays, "dataset-name": "robot"}
    few = {} if name == ALL else {"data.demos_per_task": options.demos}
    return Run(folder, PLACE, ARMS[name] | few, seed), plays


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table.

    Raises:
        ValueError: in one line, if an option is wrong, a file is damaged, or a command fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--steps", type=int, default=PLACE.train_steps, help="training steps")
    parser.add_argument("--demos", type=int, default=5, help="demonstrations of each task that keep their actions")
    options = parser.parse_args(arguments)
    chosen = list(ARMS) if options.arms is None else [name.strip() for name in options.arms.split(";")]
    for name in chosen:
        if name not in ARMS:
            raise ValueError(f"--arms: {name!r} is no arm; choose from {'; '.join(ARMS)}, separated by semicolons")
    if options.demos < 1:
        raise ValueError(f"--demos={options.demos} must be at least 1")
    if not options.show and (options.data is None or options.out is None or not Path(options.data).is_dir()):
        raise ValueError(f"--data={options.data} and --out={options.out} must be folders; give both, or --show")
    setting = f"{options.demos} demonstrations of each task, {options.steps} steps, k={K}, chunks of {CHUNK}"
    store = Store(options.json, f"{setting}, {options.episodes} episodes of seed {options.eval_seed}")
    for seed in () if options.show else chosen_seeds(options.seeds):
        for name in chosen:
            if store.has(CALM, name, seed):
                continue
            run, plays = run_of(name, options, seed)
            run.train(options.data, options.steps)
            done = run.play(options.episodes, options.eval_seed, settings=plays, disturbed=False)
            store.add(CALM, name, seed, record_of(done, run))
    store.require()
    rows = store.rows.get(CALM, {})
    if FLOW not in rows:
        raise ValueError(f"{options.json}: holds no episodes of {FLOW!r}, which others are compared with; run that arm")
    table = {name: row_of(rows[name], rows[FLOW]) for name in ARMS if name in rows}
    print_table(store.setting, table)
    if options.png:
        draw_rates({name: {"success": row} for name, row in table.items()}, options.png, baselines=[FLOW, ALL])


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
