"""`tempovla train vla`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import ArgumentParser, Outcome
from tempovla.cli.temporal_flags import TemporalParser, add_temporal_flags
from tempovla.cli.train_policy import build_training_parser, training_outcome
from tempovla.recipe.systems.vla import train_vla
from tempovla.recipe.systems.vla_config import VLARecipe

EXAMPLES = """
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/vla
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/vla_mlp \\
    --model.action_head mlp
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/vla \\
    --checkpoint outputs/vla/checkpoint_latest
tempovla train vla --config configs/temporal_vla.yaml --dataset outputs/data --output-dir outputs/temporal_vla \\
    --base-checkpoint outputs/vla/checkpoint_latest
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --output-dir outputs/lstm_vla \\
    --use-temporal-encoder --temporal-encoder-type lstm --sequence-length 16
tempovla train vla --config configs/vla_metaworld.yaml --batch_size 32 --print_config > mine.yaml
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_training_parser(
        name, summary, EXAMPLES, VLARecipe, output_dir="checkpoints/vla", kind=TemporalParser
    )
    parser.add_argument("--pretrained-vlm", metavar="DIR", help="whose vision-language model the run starts from")
    parser.add_argument(
        "--base-checkpoint",
        metavar="CKPT",
        help="trained VLA, whose part that sees one frame the run starts from, action head included",
    )
    add_temporal_flags(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Train."""
    recipe = VLARecipe(args.data, args.transform, args.model, args.training)
    result = train_vla(
        recipe,
        args.output_dir,
        pretrained_vlm=args.pretrained_vlm,
        base_checkpoint=args.base_checkpoint,
        resume=args.checkpoint,
    )
    return training_outcome(result)
