"""`tempovla eval offline`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, build_parser
from tempovla.cli.eval_metaworld import add_dataset_argument
from tempovla.recipe.evaluation.offline import FIGURES, evaluate_offline

EXAMPLES = """
tempovla eval offline --checkpoint checkpoints/phase2_flow_matching/checkpoint_best
tempovla eval offline --checkpoint CKPT --data /data/libero_object --split all --json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--checkpoint DIR [--data DIR] [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="what training saved, or an exported file")
    parser.add_argument("--data", metavar="DIR", help="the dataset, if it is not where training found it")
    add_dataset_argument(parser)
    parser.add_argument(
        "--split",
        type=Literal["validation", "all"],
        default="validation",
        help="the episodes that training held out, or all",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="samples predicted at a time")
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Compare predicted with demonstrated actions."""
    figures = evaluate_offline(
        args.checkpoint,
        data=args.data,
        dataset_name=args.dataset_name,
        split=args.split,
        batch_size=args.batch_size,
    )
    return Outcome("\n".join(_table(figures)), figures)


def _table(figures: Mapping[str, Any]) -> list[str]:
    rows = [*figures["dimensions"].items(), *([("motion", figures["motion"])] if "motion" in figures else [])]
    rows.append(("mean", figures))
    width = max(len(name) for name, _ in rows)
    held_out = "held-out " if figures["split"] == "validation" else ""
    lines = [f"{figures['steps']} steps of {figures['samples']} chunks, {figures['episodes']} {held_out}episodes"]
    lines.append("relative: 1 is the error of always answering the mean action, and below is better")
    lines.append(f"{'':<{width}}         MSE  normalised    relative")
    lines += [f"{name:<{width}}" + "".join(_cell(row[key]) for key in FIGURES) for name, row in rows]
    if "gripper_accuracy" in figures:
        lines.append(f"gripper accuracy {figures['gripper_accuracy']:.1%}; motion is all but the gripper")
    return lines


def _cell(figure: float | None) -> str:
    return f"  {'-':>10}" if figure is None else f"  {figure:>10.6f}"
