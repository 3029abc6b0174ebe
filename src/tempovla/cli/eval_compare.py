"""`tempovla eval compare`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option
from tempovla.recipe.evaluation.comparison import compare_evaluations
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.report.tables import comparison_table

EXAMPLES = """
tempovla eval compare outputs/eval_a/results.json outputs/eval_b/results.json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "A.json B.json [--json [FILE]]", EXAMPLES)
    parser.add_argument("first", metavar="A.json", help="results of an evaluation in a simulator, written with --json")
    parser.add_argument("second", metavar="B.json", help="results of another checkpoint")
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Compare the two evaluations."""
    comparison = compare_evaluations(args.first, args.second)
    return Outcome("\n".join(comparison_table(comparison)), comparison)
