"""`tempovla train openvla`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome
from tempovla.cli.train_policy import build_training_parser, training_outcome
from tempovla.recipe.systems.openvla import train_openvla
from tempovla.recipe.systems.openvla_config import OpenVLARecipe

EXAMPLES = """
tempovla train openvla --config configs/openvla_lora.yaml --dataset outputs/libero --output-dir outputs/openvla \\
    --pretrained openvla/openvla-7b
tempovla train openvla --config configs/openvla_lora.yaml --dataset outputs/libero --output-dir outputs/openvla \\
    --pretrained checkpoints/openvla-7b --model.lora.r 8 --checkpoint outputs/openvla/checkpoint_latest
tempovla train openvla --config configs/openvla_lora.yaml --batch_size 8 --print_config > mine.yaml
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    return build_training_parser(name, summary, EXAMPLES, OpenVLARecipe, output_dir="checkpoints/openvla")


def run(args: Namespace) -> Outcome:
    """Train."""
    recipe = OpenVLARecipe(args.data, args.transform, args.model, args.training)
    return training_outcome(train_openvla(recipe, args.output_dir, resume=args.checkpoint))
