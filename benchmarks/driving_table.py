r"""Sensors of a driving policy, one subset after the other: open loop, and driving in the city.

    tempovla collect driving --tasks day,night,fog --scenes 240 --push_rate 0.04 --out outputs/city
    python benchmarks/driving_table.py --data outputs/city --out outputs/driving --json outputs/driving.json

Each policy is trained on the same scenes for as many steps, and drives the same routes: by day, at night and in fog in
the town that it learned in, and by day in a town that it has not seen. Policies with several sensors also drive without
one of them, and all but the blind one with a navigator that says the wrong turn. Each training is `tempovla train
driving`, each evaluation `tempovla eval`, in folders of their own. Stopped, the same call goes on; what is finished is
not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import REMEDY, alone_with, as_word, exit_code_of, tempovla
from tempovla.rollout.metrics import SuccessRate
from tempovla.rollout.paired import PairedOutcomes
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CONFIG, TOKENS_CONFIG = CONFIGS / "driving_city.yaml", CONFIGS / "driving_city_tokens.yaml"
BLIND, ALL = "blind", "all sensors"
ARMS: dict[str, dict[str, Any]] = {
    BLIND: {"model.sensors": []},
    "radar + IMU": {"model.sensors": ["radar", "imu"]},
    "LiDAR": {"model.sensors": ["lidar"]},
    "cameras": {"model.sensors": ["cameras"]},
    ALL: {},
    "all, no dropout": {"model.modality_dropout": 0.0},
    "all, with the past": {"model.temporal.encoder_type": "lstm"},
    "cross-modal fusion": {"model.fusion": "cross_modal"},
    "hierarchical fusion": {"model.fusion": "hierarchical"},
}
"""By name, how a policy differs from the config, which is `TOKENS_CONFIG` where tokens are fused."""
FUSED = (ALL, "all, no dropout", "all, with the past", "cross-modal fusion", "hierarchical fusion")
"""Policies of several sensors, one of which may break."""

UNSEEN, DEAF = "unseen town", "wrong turns"
PLAYS: dict[str, tuple[str, ...]] = {
    "day": ("--tasks", "day"),
    "night": ("--tasks", "night"),
    "fog": ("--tasks", "fog"),
    UNSEEN: ("--tasks", "day", "--town", "hillcrest"),
    DEAF: ("--tasks", "day", "--wrong_instruction", "true"),
}
BROKEN: dict[str, tuple[str, ...]] = {
    "without LiDAR": ("--tasks", "day,night,fog", "--without", '["lidar"]'),
    "without front camera": ("--tasks", "day,night,fog", "--without", '["front"]'),
    "without cameras": ("--tasks", "day,night,fog", "--without", '["cameras"]'),
}
"""Where one of the sensors is missing."""
FIGURES = ("completion", "driving_score", "pdm_score", "collision", "red_lights", "off_road", "timeout", "comfort")
OPEN_LOOP = "open loop"
CONVENTIONS = {"uniad": "UniAD", "stp3": "ST-P3, VAD"}
"""Of the distances: at the time, and the mean up to it."""
COLLISIONS = ("collision", "collision_new")

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training, and its evaluations."""

    folder: Path
    settings: Mapping[str, Any]
    seed: int

    @property
    def config(self) -> Path:
        """What the settings come on top of."""
        return TOKENS_CONFIG if "model.fusion" in self.settings else CONFIG

    @property
    def checkpoint(self) -> Path:
        """The newest one."""
        return self.folder / "checkpoint_latest"

    def train(self, data: str, steps: int | None) -> None:
        """Train, as far as that is not done."""
        done = self.folder / "training.json"
        if done.exists():
            return
        options = ["--config", str(self.config), "--dataset", data, "--out", str(self.folder), "--json"]
        options += ["--training.seed", str(self.seed)]
        options += [] if steps is None else ["--training.train_steps", str(steps)]
        options += [word for key, value in self.settings.items() for word in (f"--{key}", as_word(value))]
        options += ["--checkpoint", str(self.checkpoint)] if self.checkpoint.exists() else []
        told = tempovla("train", "driving", *options)
        self.folder.mkdir(parents=True, exist_ok=True)  # only now, so that a refused training leaves no empty folder
        write_text(done, told)

    def drive(self, name: str, play: Sequence[str], episodes: int, seed: int) -> Record:
        """Evaluate in closed loop, as far as that is not done, and return what is kept of it."""
        results = self.folder / f"eval_{name.replace(' ', '_')}_{episodes}_{seed}" / "results.json"
        if not results.exists():
            options = ["--checkpoint", str(self.checkpoint), "--episodes", str(episodes), "--seed", str(seed)]
            tempovla("eval", "driving", *options, *play, "--num_envs", "2", "--json", str(results))
        found = read_json(results, remedy="remove it, and run this again")
        return {
            "successes": [int(episode["success"]) for episode in found["episodes"]],
            "figures": {name: found["mean"]["figures"][name] for name in FIGURES},
        }

    def compare(self) -> Record:
        """Evaluate in open loop, as far as that is not done, and return what was measured."""
        results = self.folder / "open_loop.json"
        if not results.exists():
            tempovla("eval", "offline", "--checkpoint", str(self.checkpoint), "--json", str(results))
        return read_json(results, remedy="remove it, and run this again")["open_loop"]


class Store:
    """What was measured, in one JSON file that is written after each evaluation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def records(self) -> dict[str, dict[str, Record]]:
        """By arm and by what it drove."""
        return read_json(self.path, remedy=REMEDY) if self.path.exists() else {}

    def add(self, arm: str, name: str, record: Record) -> None:
        """Add a record, and write the file."""
        with alone_with(self.path):
            records = self.records
            records.setdefault(arm, {})[name] = record
            write_text(self.path, json.dumps(records, indent=1) + "\n")


def rate_cell(record: Record | None) -> str:
    """The share of routes that were finished, and the mean score of NAVSIM's kind."""
    if record is None:
        return ""
    rate = SuccessRate.of([bool(each) for each in record["successes"]])
    low, high = rate.interval
    score = record["figures"]["pdm_score"]["mean"]
    return f"{rate.rate:.0%} [{low:.0%}, {high:.0%}], {score:.2f}"


def print_rates(records: Mapping[str, Mapping[str, Record]], names: Sequence[str]) -> None:
    """The table of routes, in Markdown."""
    print(f"\n| policy | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for arm, found in records.items():
        cells = [rate_cell(found.get(name)) for name in names]
        if any(cells):
            print(f"| {arm} | {' | '.join(cells)} |")


def print_infractions(records: Mapping[str, Mapping[str, Record]], names: Sequence[str]) -> None:
    """The table of what went wrong by an episode, over all of these drives, in Markdown."""
    print(f"\n| policy | {' | '.join(FIGURES)} |\n|---|{'---:|' * len(FIGURES)}")
    for arm, found in records.items():
        there = [found[name]["figures"] for name in names if name in found]
        if there:
            means = [sum(each[figure]["mean"] for each in there) / len(there) for figure in FIGURES]
            print(f"| {arm} | {' | '.join(f'{mean:.2f}' for mean in means)} |")


def print_pairs(records: Mapping[str, Mapping[str, Record]], names: Sequence[str]) -> None:
    """Every policy beside that of all sensors on the same routes, with McNemar's exact test."""
    print(f"\n| policy | against {ALL} |\n|---|---|")
    for arm, found in records.items():
        shared = [name for name in names if name in found and name in records.get(ALL, {})]
        if arm == ALL or not shared:
            continue
        pairs = [
            (bool(a), bool(b))
            for name in shared
            for a, b in zip(records[ALL][name]["successes"], found[name]["successes"], strict=True)
        ]
        paired = PairedOutcomes.of(pairs)
        print(
            f"| {arm} | {100 * paired.difference:+.0f} points of {len(pairs)} routes "
            f"({paired.only_second} : {paired.only_first}, p = {paired.p_value:.2g}) |"
        )


def print_open_loop(records: Mapping[str, Mapping[str, Record]]) -> None:
    """The distances from recorded trajectories under both conventions, behind rows that see nothing, in Markdown."""
    measured = {arm: found[OPEN_LOOP]["rows"] for arm, found in records.items() if OPEN_LOOP in found}
    if not measured:
        return
    columns = [(convention, time) for convention in CONVENTIONS for time in ("1", "2", "3", "mean")]
    head = [f"{CONVENTIONS[convention]}, {time}{'' if time == 'mean' else ' s'}" for convention, time in columns]
    print(f"\n| open loop [m] | {' | '.join(head)} | collisions, 3 s | new ones |\n|---|{'---:|' * (len(head) + 2)}")
    first = next(iter(measured.values()))
    rows = {name: row for name, row in first.items() if name != "policy"} | {
        arm: found["policy"] for arm, found in measured.items()
    }
    for name, row in rows.items():
        told = [row["l2"][convention][time]["mean"] for convention, time in columns]
        rates = [row[kind]["uniad"]["3"]["mean"] if kind in row else None for kind in COLLISIONS]
        cells = ["" if value is None else f"{value:.2f}" for value in told]
        cells += ["" if value is None else f"{value:.1%}" for value in rates]
        print(f"| {name} | {' | '.join(cells)} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the tables.

    Raises:
        ValueError: in one line, if an option is wrong, a file is damaged, or a command fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="scenes in nuScenes' format")
    parser.add_argument("--out", type=Path, help="folder of all runs")
    parser.add_argument("--show", action="store_true", help="print what the JSON file holds, and run nothing")
    parser.add_argument("--arms", help="names of policies, separated by semicolons; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--steps", type=int, help="training steps, other than the config's")
    parser.add_argument("--episodes", type=int, default=20, help="routes of each condition")
    parser.add_argument("--eval-seed", type=int, default=0, help="of the routes")
    parser.add_argument("--json", required=True, type=Path, help="file of all that was measured")
    options = parser.parse_args(arguments)
    chosen = list(ARMS) if options.arms is None else [name.strip() for name in options.arms.split(";")]
    for name in chosen:
        if name not in ARMS:
            raise ValueError(f"--arms: {name!r} is no policy; choose from {'; '.join(ARMS)}, separated by semicolons")
    if not options.show and (options.data is None or options.out is None):
        raise ValueError("--data and --out are needed to run policies; give both, or --show what there is")
    store = Store(options.json)
    for name in () if options.show else chosen:
        run = Run(options.out / f"{name.replace(' ', '_').replace(',', '')}_{options.seed}", ARMS[name], options.seed)
        plays = PLAYS | (BROKEN if name in FUSED else {})
        wanted = [play for play in (OPEN_LOOP, *plays) if play not in store.records.get(name, {})]
        if wanted:
            run.train(options.data, options.steps)
        for play in wanted:
            found = (
                run.compare()
                if play == OPEN_LOOP
                else run.drive(play, plays[play], options.episodes, options.eval_seed)
            )
            store.add(name, play, found)
    records = store.records
    print_open_loop(records)
    print_rates(records, list(PLAYS))
    print_rates(records, list(BROKEN))
    print_infractions(records, [name for name in PLAYS if name != DEAF])
    print_pairs(records, [name for name in PLAYS if name != DEAF])


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
