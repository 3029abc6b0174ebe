"""`tempovla train SYSTEM`: every system that `SYSTEM_REGISTRY` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_device, add_json_option, add_out
from tempovla.recipe.settings.parser import ArgumentParser
from tempovla.recipe.settings.recipe_parser import add_recipe, recipe_of_arguments, start_recipe_parser
from tempovla.recipe.systems.registry import find_system
from tempovla.recipe.train import train
from tempovla.timeline.arguments import with_noun
from tempovla.training.result import FitResult


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser of `--config FILE --dataset ROOT --out DIR`, the system's own options, and every key of its
    recipe.
    """
    system = find_system(name.split()[-1])
    parser = start_recipe_parser(name, summary, system.usage, system)
    add_out(parser, "folder of the run", default=system.out)
    parser.add_argument("--checkpoint", metavar="CKPT", help="checkpoint of this run to go on from")
    for option in system.options:
        spelled = f"--{option.name.replace('_', '-')}"
        if option.type is bool:
            parser.add_argument(spelled, action="store_true", help=option.help)
        else:
            parser.add_argument(spelled, type=option.type, metavar=option.metavar, help=option.help)
    add_device(parser)
    add_json_option(parser)
    return add_recipe(parser, system)


def run(name: str, args: Namespace) -> Outcome:
    """Train."""
    system = find_system(name.split()[-1])
    options = {option.name: args[option.name] for option in system.options}
    recipe = recipe_of_arguments(name.split()[-1], system, args)
    result = train(recipe, args.out, system=name.split()[-1], resume=args.checkpoint, device=args.device, **options)
    if isinstance(result, FitResult):
        return Outcome(_line(result), _figures(result))
    lines = [f"{part}: {_line(each)}" for part, each in result.items()]
    return Outcome("\n".join(lines), {part: _figures(each) for part, each in result.items()})


def _line(result: FitResult) -> str:
    return f"{with_noun(result.train_step, 'step')}, {result.checkpoint}"


def _figures(result: FitResult) -> Mapping[str, Any]:
    """How a run ended, as JSON values."""
    return {
        "train_step": result.train_step,
        "checkpoint": str(result.checkpoint),
        "best_checkpoint": None if result.best_checkpoint is None else str(result.best_checkpoint),
        "metrics": dict(result.metrics),
        "cpu_seconds": round(result.cpu_seconds, 2),
    }
