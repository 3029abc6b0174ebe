"""`tempovla train vla`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome
from tempovla.cli.train_policy import build_training_parser, training_outcome
from tempovla.recipe.vla import train_vla
from tempovla.recipe.vla_config import VLARecipe

EXAMPLES = """
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/vla
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/vla_mlp \\
    --model.action_head mlp
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/vla \\
    --checkpoint outputs/vla/checkpoint_latest
tempovla train vla --config configs/vla_metaworld.yaml --batch_size 32 --print_config > mine.yaml
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_training_parser(name, summary, EXAMPLES, VLARecipe, output_dir="checkpoints/vla")
    parser.add_argument("--pretrained-vlm", metavar="DIR", help="whose vision-language model the run starts from")
    return parser


def run(args: Namespace) -> Outcome:
    """Train."""
    recipe = VLARecipe(args.data, args.transform, args.model, args.training)
    return training_outcome(
        train_vla(recipe, args.output_dir, pretrained_vlm=args.pretrained_vlm, resume=args.checkpoint)
    )
