"""`tempovla train smolvla`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome
from tempovla.cli.train_policy import build_training_parser, training_outcome
from tempovla.recipe.systems.smolvla import train_smolvla
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe

EXAMPLES = """
tempovla train smolvla --config configs/smolvla_metaworld.yaml --dataset outputs/data --output-dir outputs/smolvla
tempovla train smolvla --config configs/smolvla_metaworld.yaml --dataset outputs/data --output-dir outputs/smolvla \\
    --checkpoint outputs/smolvla/checkpoint_latest
tempovla train smolvla --dataset outputs/data --output-dir outputs/smolvla --pretrained-policy lerobot/smolvla_base \\
    --model.cameras '[observation.images.front]' --model.robot_state_dim 6 --model.action_dim 6 \\
    --model.has_gripper false --train_steps 20000
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_training_parser(name, summary, EXAMPLES, SmolVLARecipe, output_dir="checkpoints/smolvla")
    parser.add_argument("--pretrained-policy", metavar="NAME", help="SmolVLA to start from, by name or folder")
    return parser


def run(args: Namespace) -> Outcome:
    """Train."""
    recipe = SmolVLARecipe(args.data, args.transform, args.model, args.training)
    start = args.pretrained_policy
    return training_outcome(train_smolvla(recipe, args.output_dir, pretrained_policy=start, resume=args.checkpoint))
