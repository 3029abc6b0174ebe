r"""SA-GR's parts, one after the other: closed-loop success of each arm, paired with flow matching alone.

    tempovla collect metaworld --depth true --episodes 40 --seed 0 --out outputs/demonstrations \
        --tasks coffee-push-v3,hammer-v3,pick-place-v3,plate-slide-v3,push-back-v3,push-v3,soccer-v3,sweep-into-v3
    python benchmarks/sagr_arms.py metaworld --data outputs/demonstrations --out outputs/arms --seeds 0,1,2 \
        --json outputs/arms.json --png outputs/arms.png

Every arm is trained on the same rows for as many steps, and plays the same episodes: as they are, and with an object
that is moved in the middle of each. Each training is `tempovla train sagr` and each evaluation `tempovla eval`, in
folders of their own. Stopped, the same call goes on; what is finished is not done again. Of each evaluation the JSON
file keeps the outcome of every episode, also without the folders.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from commands import as_word, chosen_seeds, exit_code_of, tempovla
from dot_plot import draw_rates
from sagr_records import Record, Store
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.sagr_config import SYSTEM
from tempovla.rollout.metrics import SuccessRate
from tempovla.rollout.paired import PairedOutcomes
from tempovla.storage.json_files import read_json
from tempovla.storage.whole import write_text

OFF = {"model.loss_w_dyn": 0, "model.loss_w_geo": 0, "model.use_drift": False}
FLOW, REPLANS = "flow matching alone", "+ drift, replanning"
LEARNS = {"model.world_detach_input": False, "model.world_target_encoder": "ema"}
"""Lets the prediction teach the task tokens; detached, as by default, no gradient of it would reach the policy."""
ARMS: dict[str, dict[str, Any]] = {
    FLOW: OFF,
    "+ dyn": {**OFF, **LEARNS, "model.loss_w_dyn": 0.2},
    "+ dyn + geo": {**OFF, **LEARNS, "model.loss_w_dyn": 0.2, "model.loss_w_geo": 0.1},
    REPLANS: {
        "model.world_target": "vision",  # task tokens hardly notice that an object has been moved
        "model.world_target_encoder": "ema",
        "model.replan": True,
        "model.rrr_replan_threshold": 1.3,
    },
    "FLARE": {**OFF, "model.flare_weight": 0.2, "model.world_target_encoder": "ema"},
    "VLA-JEPA": {
        **OFF,
        "model.loss_w_dyn": 0.2,
        "model.world_target": "vision",
        "model.world_target_encoder": "ema",
        "model.world_condition": "tokens",
    },
}
"""By name, how an arm differs from the config: all of them have depth, the same head and the same steps."""

DRIFTS = "+ drift"
"""The arm that replans once more, planning anew at every look, as all arms but this one do."""
CALM, DISTURBED = "as they are", "with an object that is moved"
WHOLE = "flow matching, whole chunks"
"""The first arm once more, executing each chunk to its end, as replanning does where nothing departs."""


@dataclass(frozen=True)
class Place:
    """Where arms are compared: the simulator, its config and tasks, and the disturbance."""

    simulator: str
    config: str
    tasks: tuple[str, ...]
    disturb_step: int
    disturb_shift_m: float

    @property
    def config_file(self) -> Path:
        """The config, wherever this is run."""
        return Path(__file__).resolve().parents[1] / self.config

    @property
    def train_steps(self) -> int:
        """Training steps of the config."""
        return int(yaml.safe_load(self.config_file.read_text())["training"]["train_steps"])


PLACES = {
    "metaworld": Place(
        "metaworld",
        "configs/sagr_metaworld.yaml",
        (
            "coffee-push-v3",
            "hammer-v3",
            "pick-place-v3",
            "plate-slide-v3",
            "push-back-v3",
            "push-v3",
            "soccer-v3",
            "sweep-into-v3",
        ),
        20,
        0.05,
    ),
    "libero": Place("libero", "configs/sagr_libero_small.yaml", (), 40, 0.05),
}


@dataclass(frozen=True)
class Run:
    """One training, and its evaluations."""

    folder: Path
    place: Place
    settings: dict[str, Any]
    seed: int

    def train(self, data: str, steps: int) -> None:
        """Train, as far as that is not done."""
        done, checkpoint = self.folder / "training.json", self.folder / "checkpoint_latest"
        if done.exists():
            return
        options = ["--config", str(self.place.config_file), "--dataset", data, "--out", str(self.folder), "--json"]
        options += ["--training.seed", str(self.seed), "--training.train_steps", str(steps)]
        options += [word for key, value in self.settings.items() for word in (f"--{key}", as_word(value))]
        options += ["--checkpoint", str(checkpoint)] if checkpoint.exists() else []
        told = tempovla("train", "sagr", *options)
        self.folder.mkdir(parents=True, exist_ok=True)  # only now, so that a refused training leaves no empty folder
        write_text(done, told)

    def play(self, episodes: int, seed: int, *, settings: dict[str, Any], disturbed: bool) -> Path:
        """Evaluate, as far as that is not done, and return where the results are."""
        how = "_".join(f"{key.rpartition('.')[2]}_{value}" for key, value in settings.items())
        name = f"eval_{how}_{episodes}_{seed}{'_disturbed' if disturbed else ''}"
        results = self.folder / name / "results.json"
        if results.exists():
            return results
        place = self.place
        options = ["--checkpoint", str(self.folder / "checkpoint_latest"), "--episodes", str(episodes)]
        options += ["--tasks", ",".join(place.tasks)] if place.tasks else []
        options += ["--seed", str(seed), "--json", str(results)]
        options += [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        if disturbed:
            options += ["--disturb_step", str(place.disturb_step), "--disturb_shift_m", str(place.disturb_shift_m)]
        tempovla("eval", place.simulator, *options)
        return results


def record_of(results: Path, run: Run) -> Record:
    """What is kept of one training's evaluation."""
    remedy = "remove it, and run this again"
    episodes = read_json(results, remedy=remedy)["episodes"]
    successes: dict[str, str] = {}
    for episode in episodes:
        successes[episode["task"]] = successes.get(episode["task"], "") + str(int(episode["success"]))
    timing = results.with_suffix(".timing.json")
    reports = [episode["report"] for episode in episodes if "report" in episode]
    return {
        "successes": successes,
        "training_cpu_s": read_json(run.folder / "training.json", remedy=remedy)["cpu_seconds"],
        "decision_ms": read_json(timing, remedy=remedy)["policy_latency_ms"]["median"],
        "replans": statistics.fmean(r.get("rrr_replan_count", 0) for r in reports) if reports else None,
    }


def outcomes_of(record: Record) -> list[bool]:
    """Whether each episode was a success, task by task."""
    return [outcome == "1" for outcomes in record["successes"].values() for outcome in outcomes]


def row_of(records: dict[str, Record], baseline: dict[str, Record]) -> dict[str, Any]:
    """The figures of one arm, by seed of the training, paired with flow matching alone of the same seeds."""
    seeds = [seed for seed in records if seed in baseline]
    for seed in seeds:
        played = [{task: len(each) for task, each in of[seed]["successes"].items()} for of in (records, baseline)]
        if played[0] != played[1]:
            raise ValueError(
                f"seed {seed}: an arm's episodes are not those of {FLOW!r}; remove its record from the --json file, "
                "and run it again"
            )
    own = [outcome for seed in seeds for outcome in outcomes_of(records[seed])]
    other = [outcome for seed in seeds for outcome in outcomes_of(baseline[seed])]
    rate, paired = SuccessRate.of(own), PairedOutcomes.of(list(zip(other, own, strict=True)))
    replans = [records[seed]["replans"] for seed in seeds]
    return {
        "success": rate.rate,
        "ci95": list(rate.interval),
        "episodes": rate.episodes,
        "by_seed": [SuccessRate.of(outcomes_of(records[seed])).rate for seed in seeds],
        "difference": paired.difference,
        "only_this": paired.only_second,
        "only_flow": paired.only_first,
        "p": paired.p_value,
        "training_cpu_s": [records[seed]["training_cpu_s"] for seed in seeds],
        "decision_ms": statistics.median(records[seed]["decision_ms"] for seed in seeds),
        "replans": None if None in replans else statistics.fmean(replans),
    }


def print_table(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """The table, in Markdown."""
    print(f"\n{title}\n")
    print(
        "| arm | success, 95% interval | by seed | against flow alone | p | replans | training, CPU s | decision, ms |"
    )
    print("|---|---|---|---|---|---|---|---:|")
    for name, row in rows.items():
        low, high = row["ci95"]
        rate = f"{row['success']:.0%} [{low:.0%}, {high:.0%}] of {row['episodes']}"
        seeds = ", ".join(f"{value:.0%}" for value in row["by_seed"])
        against = f"{100 * row['difference']:+.1f} points ({row['only_this']} : {row['only_flow']})"
        replans = "" if row["replans"] is None else f"{row['replans']:.1f}"
        cpu_s = ", ".join(f"{value:.0f}" for value in row["training_cpu_s"])
        cells = (name, rate, seeds, against, f"{row['p']:.2g}", replans, cpu_s, f"{row['decision_ms']:.1f}")
        print(f"| {' | '.join(cells)} |")


def chosen_arms(names: str | None) -> list[str]:
    """The arms to run, with flow matching alone.

    Raises:
        ValueError: if there is no such arm.
    """
    chosen = list(ARMS) if names is None else [name.strip() for name in names.split(";")]
    for name in chosen:
        if name not in ARMS:
            raise ValueError(f"--arms: {name!r} is no arm; choose from {'; '.join(ARMS)}, separated by semicolons")
    return chosen if FLOW in chosen else [FLOW, *chosen]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every comparison of arms."""
    parser.add_argument("--data", help="demonstrations with depth")
    parser.add_argument("--out", type=Path, help="folder of all runs")
    parser.add_argument("--show", action="store_true", help="print and draw what the JSON file holds, and run nothing")
    parser.add_argument("--arms", help="names of arms, separated by semicolons; all by default")
    parser.add_argument("--seeds", default="0", help="of the trainings")
    parser.add_argument("--eval-seed", type=int, default=0, help="of the episodes")
    parser.add_argument("--episodes", type=int, default=15, help="fresh episodes of each task and seed")
    parser.add_argument("--json", required=True, type=Path, help="file of all outcomes; what it holds is not run again")
    parser.add_argument("--png", help="where to draw them")


def check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that are none of steps, episodes or demonstrations.

    Raises:
        ValueError: naming the option.
    """
    for name in ("steps", "demos", "episodes", "k", "horizon"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name}={value} must be at least 1; give more, or leave it out")


def check_arms(place: Place, chosen: Sequence[str], settings: dict[str, Any]) -> None:
    """Refuse arms whose config a training would refuse, before anything is run.

    Raises:
        ValueError: naming the arm.
    """
    for name in chosen:
        try:
            read_recipe("sagr", SYSTEM, place.config_file, ARMS[name] | settings)
        except ValueError as problem:
            raise ValueError(f"arm {name!r}: {problem}; give other --k and --horizon") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the tables.

    Raises:
        ValueError: in one line, if an option is wrong, a file is damaged, or a command fails.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", choices=sorted(PLACES))
    add_options(parser)
    parser.add_argument("--steps", type=int, help="training steps, other than the config's")
    parser.add_argument("--demos", type=int, help="demonstrations of each task; all by default")
    parser.add_argument("--k", type=int, default=8, help="steps from now to the future frame, and between decisions")
    parser.add_argument("--horizon", type=int, default=16, help="steps of a chunk")
    options = parser.parse_args(arguments)
    check_numbers(options)
    place, seeds, chosen = PLACES[options.place], chosen_seeds(options.seeds), chosen_arms(options.arms)
    if not options.show and (options.data is None or options.out is None):
        raise ValueError("--data and --out are needed to run arms; give both, or --show what there is")
    if not options.show and not Path(options.data).is_dir():
        raise ValueError(f"--data={options.data} is no folder; give that of the demonstrations with depth")
    steps = place.train_steps if options.steps is None else options.steps
    time = {
        "model.temporal_delta_k": options.k,
        "model.action_horizon": options.horizon,
        "model.action_head.max_seq_len": options.horizon,
    }
    few = f", {options.demos} demonstrations" if options.demos else ""
    compared = f"{options.place}, {steps} steps, k={options.k}, chunks of {options.horizon}{few}"
    few_demos = {"data.demos_per_task": options.demos} if options.demos else {}
    store = Store(options.json, f"{compared}, {options.episodes} episodes of seed {options.eval_seed}")
    if options.show:
        store.require()
    else:
        check_arms(place, chosen, time | few_demos)
    for seed in () if options.show else seeds:
        for name in chosen:
            k = "" if name == FLOW else f"_k{options.k}"  # which flow matching alone does not depend on
            demos = f"_of_{options.demos}" if options.demos else ""
            arm = f"{options.place}_{steps}{demos}_{list(ARMS).index(name)}{k}_{options.horizon}_{seed}"
            run = Run(options.out / arm, place, ARMS[name] | time | few_demos, seed)
            plays: dict[str, dict[str, Any]] = {name: {"execution_horizon": options.k}}
            if name == FLOW and options.horizon != options.k:
                plays[WHOLE] = {"execution_horizon": options.horizon}
            if name == REPLANS:
                plays = {name: {}, DRIFTS: {"model.rrr_replan_threshold": 1e-9}}
            for title, disturbed in ((CALM, False), (DISTURBED, True)):
                for shown, settings in plays.items():
                    if store.has(title, shown, seed):
                        continue
                    run.train(options.data, steps)
                    done = run.play(options.episodes, options.eval_seed, settings=settings, disturbed=disturbed)
                    store.add(title, shown, seed, record_of(done, run))
    tables = {
        title: {name: row_of(records, rows[FLOW]) for name, records in rows.items()}
        for title, rows in store.rows.items()
        if FLOW in rows
    }
    if not tables:
        raise ValueError(
            f"{options.json}: {store.setting} has no record of {FLOW!r}, with which all are paired; run it"
        )
    for title, rows in tables.items():
        print_table(f"Episodes {title}, {store.setting}", rows)
    if options.png:
        panels = {title: title.removeprefix("with an ").replace("that is ", "") for title in tables}
        arms = [name for name in next(iter(tables.values())) if all(name in rows for rows in tables.values())]
        shown = {name: {panels[title]: tables[title][name] for title in tables} for name in arms}
        draw_rates(shown, options.png, baselines=[FLOW, WHOLE])


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
