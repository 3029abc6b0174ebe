"""`tempovla eval compare`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, build_parser
from tempovla.recipe.evaluation.comparison import compare_evaluations

EXAMPLES = """
tempovla eval compare outputs/eval_a/results.json outputs/eval_b/results.json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "A.json B.json [--json]", EXAMPLES)
    parser.add_argument("first", metavar="A.json", help="what an evaluation in a simulator wrote with --json")
    parser.add_argument("second", metavar="B.json", help="the same of another checkpoint")
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Compare the two evaluations."""
    comparison = compare_evaluations(args.first, args.second)
    return Outcome("\n".join(_table(comparison)), comparison)


def _table(comparison: Mapping[str, Any]) -> list[str]:
    rows = comparison["tasks"] | {"all": comparison["all"]}
    width = max(map(len, rows))
    lines = [f"A: {comparison['a']}", f"B: {comparison['b']}"]
    lines.append(f"{'':<{width}}     A     B  B - A [95%] points     only A  only B  p")
    for name, row in rows.items():
        low, high = row["ci95"]
        difference = f"{100 * row['difference']:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
        counts = f"{row['only_a']:>6}  {row['only_b']:>6}  {row['p_value']:.2g}"
        lines.append(f"{name:<{width}}  {row['a']:>4.0%}  {row['b']:>4.0%}  {difference:<22} {counts}")
    return [*lines, *(f"note: {remark}" for remark in comparison["remarks"]), comparison["verdict"]]
