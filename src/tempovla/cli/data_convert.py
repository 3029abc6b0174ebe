"""`tempovla data convert`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_depth_unit, add_json_option, add_libero_images
from tempovla.data.convert import convert
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.timeline.arguments import with_noun

EXAMPLES = """
tempovla data convert recordings/v21 recordings/v30
tempovla eval metaworld --checkpoint DIR --tasks push-v3 --record outputs/rollouts
tempovla data convert outputs/rollouts recordings/rollouts
tempovla data convert libero/libero_object recordings/libero_object
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "SRC DST [--depth-unit UNIT] [--libero-images HOW]", EXAMPLES)
    parser.add_argument("source", metavar="SRC", help="a v2.1 dataset, recorded rollouts or LIBERO's files")
    parser.add_argument("target", metavar="DST", help="folder of the v3.0 dataset to write")
    add_depth_unit(parser)
    add_libero_images(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Convert the dataset."""
    episodes = convert(args.source, args.target, depth_unit=args.depth_unit, libero_images=args.libero_images)
    return Outcome(f"{args.target}: {with_noun(episodes, 'episode')}", {"root": args.target, "episodes": episodes})
