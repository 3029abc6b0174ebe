"""`tempovla init`: the config with which a policy is trained on a dataset of one's own."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_dataset_options, add_json_option
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.recipe.starting_config import StartingSystem, starting_config
from tempovla.storage.whole import write_text

EXAMPLES = """
tempovla init ROOT --out my.yaml
tempovla init ROOT --system statevla --out my.yaml
tempovla init ROOT --state_key state --action_key 'actions[0:6],gripper' --out my.yaml
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "ROOT [--system SYSTEM] [--out FILE] [options]", EXAMPLES)
    parser.add_argument("root", metavar="ROOT", help="folder that holds meta/, or LIBERO's <task>_demo.hdf5 files")
    parser.add_argument("--system", type=StartingSystem, default="vla", help="what the config trains")
    parser.add_argument("--out", metavar="FILE", help="YAML file to write; without it, the config is printed")
    add_dataset_options(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Infer the config."""
    file = None if args.out is None else Path(args.out)
    if file is not None and file.exists():
        raise ValueError(f"--out {file}: is there already; remove it, or give another file")
    config = starting_config(
        args.root,
        args.system,
        state_key=args.state_key,
        action_key=args.action_key,
        depth_unit=args.depth_unit,
        libero_images=args.libero_images,
        default_instruction=args.default_instruction,
    )
    data = {"system": args.system, "file": args.out, "config": config.values}
    if file is None:
        return Outcome(config.text.removesuffix("\n"), data)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, config.text)
    return Outcome(f"{file}: train with `tempovla train {args.system} --config {file}`", data)
