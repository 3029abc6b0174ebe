"""`tempovla train smolvla`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome
from tempovla.cli.train_policy import build_training_parser, training_outcome
from tempovla.recipe.smolvla import train_smolvla
from tempovla.recipe.smolvla_config import SmolVLARecipe

EXAMPLES = """
tempovla train smolvla --config configs/smolvla_metaworld.yaml --dataset outputs/data --output-dir outputs/smolvla
tempovla train smolvla --config configs/smolvla_metaworld.yaml --dataset outputs/data --output-dir outputs/smolvla \\
    --checkpoint outputs/smolvla/checkpoint_latest
tempovla train smolvla --dataset outputs/data --output-dir outputs/smolvla \\
    --model.cameras '[observation.images.front]' --model.robot_state_dim 6 --model.action_dim 6 --model.has_gripper false --train_steps 20000
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    return build_training_parser(name, summary, EXAMPLES, SmolVLARecipe, output_dir="checkpoints/smolvla")


def run(args: Namespace) -> Outcome:
    """Train."""
    recipe = SmolVLARecipe(args.data, args.transform, args.model, args.training)
    return training_outcome(train_smolvla(recipe, args.output_dir, resume=args.checkpoint))
