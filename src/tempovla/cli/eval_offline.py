"""`tempovla eval offline`."""

from __future__ import annotations

from typing import Literal

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_dataset_name, add_device, add_json_option
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.settings.parser import ArgumentParser, add_other_name, build_parser
from tempovla.report.tables import offline_table

EXAMPLES = """
tempovla eval offline --checkpoint checkpoints/phase2_flow_matching/checkpoint_best
tempovla eval offline --checkpoint CKPT --dataset /data/libero_object --split all --json
tempovla eval offline --checkpoint CKPT --dataset outputs/recorded --split all --horizon 15 \\
    --videos outputs/world/predictions --json outputs/world/offline.json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "--checkpoint DIR [--dataset DIR] [options]", EXAMPLES)
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="checkpoint folder of a training run, or an exported file"
    )
    parser.add_argument("--dataset", metavar="DIR", help="the dataset, if it is not where training found it")
    add_other_name(parser, "--data", "--dataset")
    add_dataset_name(parser)
    parser.add_argument(
        "--split",
        type=Literal["validation", "all"],
        default="validation",
        help="the episodes that training held out, or all",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="samples predicted at a time")
    parser.add_argument(
        "--horizon",
        type=int | None,
        default=None,
        help="for a policy with a world model: control steps that it predicts without seeing anything; without it, 15, "
        "or fewer where all episodes are shorter",
    )
    parser.add_argument(
        "--videos", metavar="DIR", help="folder for videos of some predictions, if the world model decodes pictures"
    )
    add_device(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Compare predicted with demonstrated actions, and with what came of recorded ones."""
    figures = evaluate_offline(
        args.checkpoint,
        data=args.dataset,
        dataset_name=args.dataset_name,
        split=args.split,
        batch_size=args.batch_size,
        device=args.device,
        horizon=args.horizon,
        videos=args.videos,
    )
    return Outcome("\n".join(offline_table(figures)), figures)
