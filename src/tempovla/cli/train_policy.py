"""What the commands that clone behaviour share: their options, and what they say at the end."""

from __future__ import annotations

from typing import Any

from tempovla.cli.command import ArgumentParser, Outcome, add_json_flag, add_other_name, add_short_names, build_parser
from tempovla.train.trainer import FitResult


def build_training_parser(
    name: str,
    summary: str,
    examples: str,
    recipe_class: type[Any],
    *,
    output_dir: str,
    kind: type[ArgumentParser] = ArgumentParser,
) -> ArgumentParser:
    """A parser of `--config FILE --dataset ROOT --output-dir DIR`, and of every key of the recipe."""
    usage = "--config FILE --dataset ROOT --output-dir DIR [--KEY VALUE ...]"
    parser = build_parser(name, summary, usage, examples, kind)
    parser.add_argument("--config", action="config", metavar="FILE", help="YAML file of any of the keys below")
    parser.add_argument("--output-dir", default=output_dir, metavar="DIR", help="folder of the run")
    parser.add_argument("--checkpoint", metavar="CKPT", help="checkpoint of this run to go on from")
    add_json_flag(parser)
    parser.add_class_arguments(recipe_class, None)
    add_short_names(parser)
    add_other_name(parser, "--dataset", "--data.data_directory")
    return parser


def training_outcome(result: FitResult) -> Outcome:
    """How a run ended."""
    return Outcome(f"{result.train_step} steps, {result.checkpoint}", training_figures(result))


def training_figures(result: FitResult) -> dict[str, Any]:
    """How a run ended, as JSON values."""
    return {
        "train_step": result.train_step,
        "checkpoint": str(result.checkpoint),
        "best_checkpoint": None if result.best_checkpoint is None else str(result.best_checkpoint),
        "metrics": dict(result.metrics),
        "cpu_seconds": round(result.cpu_seconds, 2),
    }
