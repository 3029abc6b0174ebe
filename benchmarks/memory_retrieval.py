r"""Does an earlier episode help? A policy with and without retrieval, in rooms that no weight has seen.

    tempovla collect memory --tasks lesson,earlier-lesson --episodes 240 --init-states benchmark --out outputs/rooms
    tempovla collect memory --tasks earlier-lesson --episodes 300 --init-states benchmark --house 4 --out outputs/tests
    tempovla collect memory --tasks lesson --episodes 300 --init-states benchmark --house 4 --out outputs/lessons
    tempovla collect memory --tasks lesson --episodes 60 --init-states benchmark --house 1 --pictures image \
        --out outputs/house_1
    tempovla collect memory --tasks lesson --episodes 60 --init-states benchmark --house 2 --pictures image \
        --out outputs/house_2
    python benchmarks/memory_retrieval.py --base outputs/rooms --train outputs/tests --library outputs/lessons \
        --test outputs/house_2 --other outputs/house_1 --out outputs/retrieval

A VLA of one frame learns in house 0. On its frozen features, contexts learn in house 4, whose rooms the features cannot
know. Each context is then evaluated in the first rooms of the house of `--test`, one episode a room. A policy with
retrieval looks up the lessons of that house, or those of `--other`, of rooms that it never meets there. Runs that are
finished are not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from commands import chosen_seeds, exit_code_of, tempovla
from tempovla.data.lerobot import open_dataset
from tempovla.rollout.metrics import SuccessRate
from tempovla.rollout.paired import PairedOutcomes

CONFIG = "configs/vla_memory.yaml"
BASE_STEPS, CONTEXT_STEPS = 1800, 1400
LSTM = {"temporal": {"encoder_type": "lstm", "hidden_dim": 128, "num_layers": 1, "dropout": 0.0}}
RETRIEVAL = {"retrieval": {"hidden_dim": 64, "top_k": 4, "match_frames": 6, "max_episodes": 300, "max_frames": 17}}
CONTEXTS: dict[str, dict[str, Any]] = {"lstm": LSTM, "lstm and retrieval": LSTM | RETRIEVAL}


def recipe(options: argparse.Namespace, context: str | None, seed: int) -> dict[str, Any]:
    """The config of a run; `context` None is the policy of one frame."""
    settings = yaml.safe_load(Path(CONFIG).read_text())
    settings["transform"]["shift_px"], settings["training"]["seed"] = 0, seed
    if context is None:
        settings["model"]["context"] = None
        settings["training"] |= {"batch_size": 64, "train_steps": BASE_STEPS}
        return settings
    settings["model"]["context"] = {"stride": 4, "sequence_length": 14, "freeze_base": True} | CONTEXTS[context]
    settings["data"]["encoding_cache"] = str(options.out / "encodings")
    settings["training"] |= {"batch_size": 16, "train_steps": options.steps}
    if "retrieval" in CONTEXTS[context]:
        settings["data"]["library"] = options.library
    return settings


def train(options: argparse.Namespace, context: str | None, seed: int) -> Path:
    """Train, if that is not done; returns the checkpoint."""
    folder = options.out / f"{context or 'one frame'}_{seed}".replace(" ", "_")
    if not (folder / "checkpoint_latest").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(options, context, seed), sort_keys=False))
        data = options.base if context is None else options.train
        start = [] if context is None else ["--base-checkpoint", str(train(options, None, options.base_seed))]
        arguments = ["--config", str(folder / "recipe.yaml"), "--dataset", data, "--out", str(folder), *start]
        tempovla("train", "vla", *arguments, log=folder / "train.log")
    return folder / "checkpoint_latest"


def evaluate(options: argparse.Namespace, checkpoint: Path, library: str | None) -> list[bool]:
    """Success in each room, in the order of the rooms."""
    test = open_dataset(options.test)
    house = test.recording["house"]
    stem = f"{Path(options.test).name}_{Path(library).name if library else 'none'}_{options.seed}"
    results = checkpoint.parent / "eval" / f"{stem}.json"
    if not results.exists():
        arguments = ["--checkpoint", str(checkpoint), "--tasks", "earlier-lesson", "--episodes", str(len(test))]
        arguments += ["--init_states", "benchmark", "--house", str(house), "--seed", str(options.seed)]
        arguments += ["--execution_horizon", "4", "--workers", "1", "--json", str(results)]
        arguments += ["--library", library] if library else []
        tempovla("eval", "memory", *arguments, log=checkpoint.parent / "eval.log")
    return [episode["success"] for episode in json.loads(results.read_text())["episodes"]]


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="demonstrations for the features")
    parser.add_argument("--train", required=True, help="demonstrations of earlier-lesson for the contexts")
    parser.add_argument("--library", required=True, help="lessons in the rooms of these")
    parser.add_argument("--test", required=True, help="lessons in the rooms of the evaluation")
    parser.add_argument("--other", required=True, help="lessons in other rooms")
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs")
    parser.add_argument("--seeds", default="0", help="of the contexts' training")
    parser.add_argument("--base-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the evaluation")
    parser.add_argument("--steps", type=int, default=CONTEXT_STEPS)
    parser.add_argument("--json", help="where to write the successes")
    options = parser.parse_args()
    seeds = chosen_seeds(options.seeds)
    rows: dict[str, list[bool]] = {}
    for seed in seeds:
        alone, both = (train(options, context, seed) for context in CONTEXTS)
        for name, checkpoint, library in (
            ("lstm", alone, None),
            ("lstm and retrieval", both, options.test),
            ("the same, lessons of other rooms", both, options.other),
        ):
            rows.setdefault(name, []).extend(evaluate(options, checkpoint, library))
    print("| policy | success, 95% interval | against lstm and retrieval, exact test |\n|---|---|---|")
    for name, successes in rows.items():
        rate = SuccessRate.of(successes)
        paired = PairedOutcomes.of(list(zip(rows["lstm and retrieval"], successes, strict=True)))
        low, high = rate.interval
        test = "" if name == "lstm and retrieval" else f"{paired.difference:+.0%}, p = {paired.p_value:.1g}"
        print(f"| {name} | {rate.rate:.0%} [{low:.0%}, {high:.0%}] of {rate.episodes} | {test} |")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
