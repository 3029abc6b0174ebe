"""What `tempovla train align` and `tempovla train instruct` share."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, add_short_names, build_parser
from tempovla.cli.train_statevla import training_figures
from tempovla.recipe.systems.vlm import Stage, train_vlm
from tempovla.recipe.systems.vlm_config import VLMRecipe


def build_vlm_parser(stage: Stage, name: str, summary: str, examples: str) -> ArgumentParser:
    """The parser of a stage."""
    usage = "--config FILE --dataset FILE.jsonl --output-dir DIR [--KEY VALUE ...]"
    parser = build_parser(name, summary, usage, examples)
    parser.add_argument("--config", action="config", metavar="FILE", help="YAML file of any of the keys below")
    parser.add_argument("--output-dir", default=f"checkpoints/{stage}", metavar="DIR", help="folder of the run")
    parser.add_argument("--pretrained-vlm", metavar="DIR", help="whose vision-language model the run starts from")
    parser.add_argument("--new-projector", action="store_true", help="start with a new projector all the same")
    parser.add_argument("--checkpoint", metavar="CKPT", help="checkpoint of this run to go on from")
    add_json_flag(parser)
    parser.add_class_arguments(VLMRecipe, None)
    add_short_names(parser)
    return parser


def run_stage(stage: Stage, args: Namespace) -> Outcome:
    """Train."""
    recipe = VLMRecipe(args.data, args.transform, args.model, args.training)
    result = train_vlm(
        recipe,
        stage,
        args.output_dir,
        pretrained_vlm=args.pretrained_vlm,
        new_projector=args.new_projector,
        resume=args.checkpoint,
    )
    return Outcome(f"{result.train_step} steps, {result.checkpoint}", training_figures(result))
