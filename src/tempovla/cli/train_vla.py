"""`tempovla train vla`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, add_short_names, build_parser
from tempovla.cli.train_statevla import training_figures
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
    parser = build_parser(name, summary, "--config FILE --dataset ROOT --output-dir DIR [--KEY VALUE ...]", EXAMPLES)
    parser.add_argument("--config", action="config", metavar="FILE", help="YAML file of any of the keys below")
    parser.add_argument("--output-dir", default="checkpoints/vla", metavar="DIR", help="folder of the run")
    parser.add_argument("--pretrained-vlm", metavar="DIR", help="whose vision-language model the run starts from")
    parser.add_argument("--checkpoint", metavar="CKPT", help="checkpoint of this run to go on from")
    add_json_flag(parser)
    parser.add_class_arguments(VLARecipe, None)
    add_short_names(parser)
    parser._option_string_actions["--dataset"] = parser._option_string_actions["--data.data_directory"]
    return parser


def run(args: Namespace) -> Outcome:
    """Train."""
    recipe = VLARecipe(args.data, args.transform, args.model, args.training)
    result = train_vla(recipe, args.output_dir, pretrained_vlm=args.pretrained_vlm, resume=args.checkpoint)
    figures = training_figures(result)
    return Outcome(f"{result.train_step} steps, {result.checkpoint}", figures)
