r"""Sensors of a driving policy, one subset after the other: open loop, and driving in the city.

    tempovla collect driving --tasks day,night,fog --scenes 600 --push_rate 0.08 --out outputs/city
    python benchmarks/driving_table.py --data outputs/city --out outputs/driving --json outputs/driving.json

Each policy is trained on the same scenes for as many steps, and drives the same routes: by day, at night and in fog in
the town that it learned in, and by day in a town that it has not seen. Policies with several sensors also drive without
one of them, and all of them with a navigator that says the wrong turn. The rule-based driver, which learned nothing,
drives the same routes first. Each training is `tempovla train driving`, each evaluation `tempovla
eval`, in folders of their own. Stopped, the same call goes on; what is finished is not done again. Several calls may
add to the same file, such as two with half of the `--arms` each on two cores.
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
from tempovla.env.driving.config import DrivingConfig
from tempovla.env.seeding import episode_seed
from tempovla.rollout.metrics import SuccessRate
from tempovla.rollout.paired import PairedOutcomes, PairedReturns
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CONFIG, TOKENS_CONFIG = CONFIGS / "driving_city.yaml", CONFIGS / "driving_city_tokens.yaml"
BLIND, ALL, NO_DROPOUT = "blind", "all sensors", "all, no dropout"
PAST = {"model.temporal.encoder_type": "lstm", "training.batch_size": 2}
"""Sequences of eight frames, which are as many frames a step as the others have."""
ARMS: dict[str, dict[str, Any]] = {
    BLIND: {"model.sensors": []},
    "radar + IMU": {"model.sensors": ["radar", "imu"]},
    "LiDAR": {"model.sensors": ["lidar"]},
    "LiDAR, with the past": {"model.sensors": ["lidar"]} | PAST,
    "cameras": {"model.sensors": ["cameras"]},
    ALL: {},
    NO_DROPOUT: {"model.modality_dropout": 0.0},
    "all, with the past": PAST,
    "all, trajectories alone": {"model.occupancy_weight": 0, "model.road_weight": 0, "model.light_weight": 0}
    | {"model.brake_threshold": 0},
    "cross-modal fusion": {"model.fusion": "cross_modal"},
    "hierarchical fusion": {"model.fusion": "hierarchical"},
}
"""By name, how a policy differs from the config, which is `TOKENS_CONFIG` where tokens are fused."""
FUSED = (ALL, NO_DROPOUT)
"""Policies of several sensors, one of which may break."""
EXPERT = "expert"
"""The rule-based driver of the demonstrations."""

UNSEEN, DEAF = "unseen town", "wrong turns"
PLAYS: dict[str, tuple[str, ...]] = {
    "day": ("--tasks", "day"),
    "night": ("--tasks", "night"),
    "fog": ("--tasks", "fog"),
    UNSEEN: ("--tasks", "day", "--town", "hillcrest"),
    DEAF: ("--tasks", "day", "--wrong_instruction", "true"),
}
INTACT = "nothing broken"
_ANY = ("--tasks", "day,night,fog")
BROKEN: dict[str, tuple[str, ...]] = {
    INTACT: _ANY,
    "without LiDAR": (*_ANY, "--without", '["lidar"]'),
    "without radar": (*_ANY, "--without", '["radar"]'),
    "without front camera": (*_ANY, "--without", '["front"]'),
    "without cameras": (*_ANY, "--without", '["cameras"]'),
}
"""Where one of the sensors is missing; on other routes than `PLAYS`, half as many by task."""
OTHER_ROUTES = 1000
"""By how much the seed of these is larger."""
SEEN = ("day", "night", "fog")
"""Plays in the town of the demonstrations."""
WHERE: dict[str, Sequence[str]] = {
    "seen town": SEEN,
    "day": ("day",),
    "night and fog": ("night", "fog"),
    UNSEEN: (UNSEEN,),
}
"""Plays over which policies are compared."""
PAIRS = (
    (ALL, BLIND),
    (ALL, "cameras"),
    (ALL, "LiDAR"),
    ("LiDAR, with the past", "LiDAR"),
    ("all, with the past", ALL),
    ("all, trajectories alone", ALL),
    (NO_DROPOUT, ALL),
    ("cross-modal fusion", ALL),
    ("hierarchical fusion", ALL),
)
FIGURES = ("completion", "driving_score", "pdm_score", "collision", "red_lights", "off_road", "off_route", "timeout")
"""That are kept of each episode, and shown."""
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
    num_envs: int = 2

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
            tempovla("eval", "driving", *options, *play, "--num_envs", str(self.num_envs), "--json", str(results))
        found = read_json(results, remedy="remove it, and run this again")
        return record_of([(bool(each["success"]), each["figures"]) for each in found["episodes"]])

    def compare(self) -> Record:
        """Evaluate in open loop, as far as that is not done, and return what was measured."""
        results = self.folder / "open_loop.json"
        if not results.exists():
            tempovla("eval", "offline", "--checkpoint", str(self.checkpoint), "--json", str(results))
        return read_json(results, remedy="remove it, and run this again")["open_loop"]


def drives_of(play: str, options: argparse.Namespace) -> tuple[int, int, int]:
    """How many episodes of each task a play has, the seed of its routes, and how many routes these are."""
    episodes, seed = options.episodes, options.eval_seed
    if play in BROKEN:
        episodes, seed = max(1, episodes // 2), seed + OTHER_ROUTES
    tasks = (PLAYS | BROKEN).get(play, ("--tasks", ""))[1].split(",")
    return episodes, seed, episodes * len(tasks)


def record_of(episodes: Sequence[tuple[bool, Mapping[str, float]]]) -> Record:
    """What is kept of episodes, each with whether its route was finished, and its figures."""
    return {
        "successes": [int(success) for success, _ in episodes],
        "figures": {name: [round(float(figures[name]), 4) for _, figures in episodes] for name in FIGURES},
    }


def drive_expert(play: Sequence[str], episodes: int, seed: int) -> Record:
    """Let the rule-based driver drive the routes of an evaluation."""
    options = dict(zip(play[::2], play[1::2], strict=True))
    env = DrivingConfig(town=options.get("--town", DrivingConfig.town), render=False, cameras=()).make()
    driven = []
    for task in options["--tasks"].split(","):
        for number in range(episodes):
            env.reset_state(seed=episode_seed("evaluate", seed, task, number), task=task)
            expert, ended = env.expert(), False
            while not ended:
                _, terminated, truncated, info = env.advance(expert.act())
                ended = terminated or truncated
            driven.append((bool(info["success"]), env.figures()))
    env.close()
    return record_of(driven)


class Store:
    """What was measured, in one JSON file that is written after each evaluation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def records(self) -> dict[str, dict[str, Record]]:
        """By arm and by what it drove.

        Raises:
            ValueError: if the file holds something else.
        """
        found = read_json(self.path, remedy=REMEDY) if self.path.exists() else {}
        if not all(isinstance(each, dict) for each in found.values()):
            raise ValueError(f"{self.path}: holds no figures of policies; {REMEDY}")
        return found

    def holds(self, arm: str, name: str, routes: int) -> bool:
        """Return whether something was measured.

        Args:
            arm: of the policy.
            name: of what it drove.
            routes: number of routes that are asked for; of other numbers no pairs can be made.

        Raises:
            ValueError: if as many routes were not driven.
        """
        record = self.records.get(arm, {}).get(name)
        if record is not None and name != OPEN_LOOP and len(record["successes"]) != routes:
            raise ValueError(
                f"{self.path}: {arm!r} drove {len(record['successes'])} routes of {name!r}, but --episodes asks for "
                f"{routes}; give the --episodes that the file was begun with, or another --json"
            )
        return record is not None

    def add(self, arm: str, name: str, record: Record) -> None:
        """Add a record, and write the file."""
        with alone_with(self.path):
            records = self.records
            records.setdefault(arm, {})[name] = record
            write_text(self.path, json.dumps(records, indent=1) + "\n")


def rate_cell(record: Record | None) -> str:
    """The share of routes that were finished with its interval, and the mean driving score."""
    if record is None:
        return ""
    rate = SuccessRate.of([bool(each) for each in record["successes"]])
    low, high = rate.interval
    return f"{rate.rate:.0%} [{low:.0%}, {high:.0%}], {mean(record, 'driving_score'):.2f}"


def mean(record: Record, figure: str) -> float:
    """Of one figure over the episodes."""
    values: list[float] = record["figures"][figure]
    return sum(values) / len(values)


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
        there = [found[name] for name in names if name in found]
        if there:
            means = [sum(mean(each, figure) for each in there) / len(there) for figure in FIGURES]
            print(f"| {arm} | {' | '.join(f'{value:.2f}' for value in means)} |")


def print_pairs(records: Mapping[str, Mapping[str, Record]], plays: Mapping[str, Sequence[str]]) -> None:
    """Policies beside others on the same routes, in Markdown: McNemar's exact test, and flipped signs of scores."""
    print("\n| policy | against | where | routes | finished | driving score |\n|---|---|---|---:|---:|---:|")
    for first, second in PAIRS:
        for where, names in plays.items():
            shared = [n for n in names if n in records.get(first, {}) and n in records.get(second, {})]
            if shared:
                pair = records[second], records[first]
                flags = [list(zip(*(each[n]["successes"] for each in pair), strict=True)) for n in shared]
                scores = [
                    list(zip(*(each[n]["figures"]["driving_score"] for each in pair), strict=True)) for n in shared
                ]
                outcomes = PairedOutcomes.of([(bool(a), bool(b)) for each in flags for a, b in each])
                returns = PairedReturns.of(*scores)
                print(
                    f"| {first} | {second} | {where} | {outcomes.pairs} | {100 * outcomes.difference:+.0f} points, "
                    f"p = {outcomes.p_value:.2g} | {returns.difference:+.2f}, p = {returns.p_value:.2g} |"
                )


def print_losses(records: Mapping[str, Mapping[str, Record]]) -> None:
    """What a policy loses without a sensor, on the same routes, in Markdown."""
    print("\n| policy | broken | finished | driving score |\n|---|---|---:|---:|")
    for arm in FUSED:
        found = records.get(arm, {})
        for name in BROKEN:
            if name == INTACT or not {INTACT, name} <= set(found):
                continue
            pairs = list(zip(found[INTACT]["successes"], found[name]["successes"], strict=True))
            outcomes = PairedOutcomes.of([(bool(a), bool(b)) for a, b in pairs])
            scores = [found[each]["figures"]["driving_score"] for each in (INTACT, name)]
            returns = PairedReturns.of(list(zip(*scores, strict=True)))
            print(
                f"| {arm} | {name} | {100 * outcomes.difference:+.0f} points, p = {outcomes.p_value:.2g} | "
                f"{returns.difference:+.2f}, p = {returns.p_value:.2g} |"
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
    parser.add_argument("--num-envs", type=int, default=2, help="routes that are driven at once")
    parser.add_argument("--json", required=True, type=Path, help="file of all that was measured")
    options = parser.parse_args(arguments)
    chosen = list(ARMS) if options.arms is None else [name.strip() for name in options.arms.split(";")]
    for name in chosen:
        if name not in ARMS:
            raise ValueError(f"--arms: {name!r} is no policy; choose from {'; '.join(ARMS)}, separated by semicolons")
    if not options.show and (options.data is None or options.out is None):
        raise ValueError("--data and --out are needed to run policies; give both, or --show what there is")
    if options.episodes < 1:
        raise ValueError(f"--episodes={options.episodes} must be at least 1")
    store = Store(options.json)
    for play, words in {} if options.show else PLAYS.items():
        if play != DEAF and not store.holds(EXPERT, play, drives_of(play, options)[2]):
            store.add(EXPERT, play, drive_expert(words, options.episodes, options.eval_seed))
    for name in () if options.show else chosen:
        run = Run(
            options.out / f"{name.replace(' ', '_').replace(',', '')}_{options.seed}",
            ARMS[name],
            options.seed,
            options.num_envs,
        )
        plays = PLAYS | (BROKEN if name in FUSED else {})
        wanted = [play for play in (OPEN_LOOP, *plays) if not store.holds(name, play, drives_of(play, options)[2])]
        if wanted:
            run.train(options.data, options.steps)
        for play in wanted:
            episodes, seed, _ = drives_of(play, options)
            store.add(name, play, run.compare() if play == OPEN_LOOP else run.drive(play, plays[play], episodes, seed))
    records = store.records
    print_open_loop(records)
    print_rates(records, list(PLAYS))
    print_rates(records, list(BROKEN))
    print_infractions(records, SEEN)
    print_pairs(records, WHERE)
    print_losses(records)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
