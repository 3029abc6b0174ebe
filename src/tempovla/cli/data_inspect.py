"""`tempovla data inspect`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_dataset_options, add_json_option, stream_keys
from tempovla.data.inspection import inspect
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.report.dataset_tables import dataset_lines

EXAMPLES = """
tempovla data inspect outputs/demo/dataset
tempovla data inspect outputs/demo/dataset --json
tempovla data inspect libero/libero_object
tempovla data inspect data/nuscenes
tempovla data inspect ROOT --state_key state --action_key 'actions[0:6],gripper'
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "ROOT [--depth-unit UNIT] [--json [FILE]]", EXAMPLES)
    parser.add_argument(
        "root", metavar="ROOT", help="folder that holds meta/, v1.0-*/, or LIBERO's <task>_demo.hdf5 files"
    )
    add_dataset_options(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Look into a dataset."""
    facts = inspect(
        args.root,
        stream_keys(args),
        depth_unit=args.depth_unit,
        libero_images=args.libero_images,
        default_instruction=args.default_instruction,
    )
    return Outcome(dataset_lines(facts), facts)
