r"""Sensors of a driving policy, one subset after the other: open loop, and driving in the city.

    tempovla collect driving --tasks day,night,fog --scenes 600 --push_rate 0.08 --out outputs/city
    python benchmarks/driving_table.py --data outputs/city --out outputs/driving --json outputs/driving.json
    python benchmarks/driving_table.py --json outputs/driving.json --show --picture outputs/driving.png

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
from driving_arms import (
    ARMS,
    BASE,
    BROKEN,
    CONFIG,
    DEAF,
    EXPERT,
    FIGURES,
    FUSED,
    OPEN_LOOP,
    OTHER_ROUTES,
    PLAYS,
    SEEN,
    TOKENS_CONFIG,
    WHERE,
    Record,
)
from driving_printed import (
    draw,
    print_infractions,
    print_losses,
    print_open_loop,
    print_pairs,
    print_rates,
    print_recognised,
)
from tempovla.env.driving.config import DrivingConfig
from tempovla.env.seeding import episode_seed
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text


@dataclass(frozen=True)
class Run:
    """One training, and its evaluations.

    Attributes:
        out: folder of all runs.
        name: of the policy.
        settings: how it differs from the config.
        seed: of the training.
        num_envs: routes that are driven at once.
    """

    out: Path
    name: str
    settings: Mapping[str, Any]
    seed: int
    num_envs: int = 2

    @property
    def folder(self) -> Path:
        """Where everything of it is."""
        return self.out / f"{self.name.replace(' ', '_').replace(',', '')}_{self.seed}"

    @property
    def base(self) -> Run | None:
        """The run that this one starts from."""
        name = self.settings.get(BASE)
        return None if name is None else Run(self.out, name, ARMS[name], self.seed, self.num_envs)

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
        changed = {key: value for key, value in self.settings.items() if key != BASE}
        options += [word for key, value in changed.items() for word in (f"--{key}", as_word(value))]
        if self.base is not None:
            self.base.train(data, steps)
            options += ["--base-checkpoint", str(self.base.checkpoint)]
        options += [] if steps is None else ["--training.train_steps", str(steps)]
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


ASKED = "asked"
"""Where the file says with which options it was begun."""


class Store:
    """What was measured, in one JSON file that is written after each evaluation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def records(self) -> dict[str, dict[str, Record]]:
        """By arm, the driver of the demonstrations first, and by what it drove.

        Raises:
            ValueError: if the file holds something else.
        """
        found = {name: each for name, each in self._read().items() if name != ASKED}
        order = [name for name in (EXPERT, *ARMS) if name in found]
        return {name: found[name] for name in dict.fromkeys((*order, *found))}

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
            found = self._read()
            found.setdefault(arm, {})[name] = record
            self._write(found)

    def begin(self, asked: Mapping[str, int | None]) -> None:
        """Note with which options the figures are measured, or see that the file was begun with the same.

        Raises:
            ValueError: if it was begun with others.
        """
        with alone_with(self.path):
            found = self._read()
            for name, value in found.setdefault(ASKED, dict(asked)).items():
                if asked[name] != value:
                    raise ValueError(
                        f"{self.path}: was begun with {name} {value}, and not {asked[name]}; give that, or another "
                        "--json and --out"
                    )
            self._write(found)

    def _read(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = read_json(self.path, remedy=REMEDY) if self.path.exists() else {}
        if not all(isinstance(each, dict) for each in found.values()):
            raise ValueError(f"{self.path}: holds no figures of policies; {REMEDY}")
        return found

    def _write(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        write_text(self.path, json.dumps(found, indent=1) + "\n")


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
    parser.add_argument("--picture", type=Path, help="PNG file to draw the rates to")
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
    if not options.show:
        store.begin({"seed": options.seed, "steps": options.steps, "eval-seed": options.eval_seed})
    for play, words in {} if options.show else PLAYS.items():
        if play != DEAF and not store.holds(EXPERT, play, drives_of(play, options)[2]):
            store.add(EXPERT, play, drive_expert(words, options.episodes, options.eval_seed))
    for name in () if options.show else chosen:
        run = Run(options.out, name, ARMS[name], options.seed, options.num_envs)
        plays = PLAYS | (BROKEN if name in FUSED else {})
        wanted = [play for play in (OPEN_LOOP, *plays) if not store.holds(name, play, drives_of(play, options)[2])]
        if wanted:
            run.train(options.data, options.steps)
        for play in wanted:
            episodes, seed, _ = drives_of(play, options)
            store.add(name, play, run.compare() if play == OPEN_LOOP else run.drive(play, plays[play], episodes, seed))
    records = store.records
    print_open_loop(records)
    print_recognised(records)
    print_rates(records, list(PLAYS))
    print_rates(records, list(BROKEN))
    print_infractions(records, SEEN)
    print_pairs(records, WHERE)
    print_losses(records)
    if options.picture is not None:
        draw(records, options.picture)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
