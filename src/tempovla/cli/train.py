"""`tempovla train SYSTEM`: every system that `SYSTEM_REGISTRY` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_device, add_json_option, add_out
from tempovla.recipe.settings.parser import ArgumentParser, add_other_name, add_short_names, build_parser
from tempovla.recipe.systems.registry import find_system
from tempovla.recipe.train import PARTS, train
from tempovla.timeline.lazy import loaded
from tempovla.timeline.plugins import plugins_in_use, require_plugins
from tempovla.train.result import FitResult

USAGE = "--config FILE --dataset ROOT --out DIR [--KEY VALUE ...]"


def build(name: str, summary: str) -> ArgumentParser:
    """The parser of `--config FILE --dataset ROOT --out DIR`, the system's own options, and every key of its recipe."""
    system = find_system(name.split()[-1])
    kind = ArgumentParser if system.parser is None else loaded(system.parser)
    parser = build_parser(name, summary, USAGE, system.examples, kind)
    about_config = "YAML file of any of the keys below, or the name of a packaged one"
    parser.add_argument("--config", action="config", metavar="FILE", help=about_config)
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
    parser.add_argument(
        "--plugins",
        type=list[str],
        default=list(plugins_in_use()),
        metavar="[MODULE,...]",
        help="plugins that a config file needs; they are imported if they are trusted, see --plugin",
    )
    parser.add_class_arguments(system.recipe, None)
    for link in system.links:
        parser.link_arguments(link.source, link.target, compute_fn=link.compute)
    add_short_names(parser)
    if system.dataset:
        add_other_name(parser, "--dataset", f"--{system.dataset}")
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Train."""
    require_plugins(args.plugins, "--plugins")
    system = find_system(name.split()[-1])
    recipe = system.recipe(**{part: args[part] for part in PARTS})
    options = {option.name: args[option.name] for option in system.options}
    result = train(recipe, args.out, system=name.split()[-1], resume=args.checkpoint, device=args.device, **options)
    if isinstance(result, FitResult):
        return Outcome(_line(result), _figures(result))
    lines = [f"{part}: {_line(each)}" for part, each in result.items()]
    return Outcome("\n".join(lines), {part: _figures(each) for part, each in result.items()})


def _line(result: FitResult) -> str:
    return f"{result.train_step} steps, {result.checkpoint}"


def _figures(result: FitResult) -> Mapping[str, Any]:
    """How a run ended, as JSON values."""
    return {
        "train_step": result.train_step,
        "checkpoint": str(result.checkpoint),
        "best_checkpoint": None if result.best_checkpoint is None else str(result.best_checkpoint),
        "metrics": dict(result.metrics),
        "cpu_seconds": round(result.cpu_seconds, 2),
    }
