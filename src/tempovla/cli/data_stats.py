"""`tempovla data stats`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option
from tempovla.recipe.datasets.statistics import dataset_statistics
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.report.dataset_tables import statistics_lines

EXAMPLES = """
tempovla data stats outputs/demo/dataset
tempovla data stats recordings/robot --recompute
tempovla data stats recordings/robot --recompute --keys action,observation.state
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "ROOT [--recompute] [--keys KEY,...] [--json [FILE]]", EXAMPLES)
    parser.add_argument(
        "root", metavar="ROOT", help="folder that holds meta/, v1.0-*/, or LIBERO's <task>_demo.hdf5 files"
    )
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="compute them from the rows, exactly; kept in meta/tempovla_stats.json, they go before meta/stats.json",
    )
    parser.add_argument(
        "--keys", metavar="KEY,...", default="", help="streams, with commas between; by default states and actions"
    )
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Show the statistics and their problems."""
    keys = [key.strip() for key in args["keys"].split(",") if key.strip()]
    facts = dataset_statistics(args.root, keys, recompute=args.recompute)
    return Outcome(statistics_lines(facts), facts)
