"""`tempovla data stats`."""

from __future__ import annotations

from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, build_parser
from tempovla.recipe.datasets.statistics import dataset_statistics

EXAMPLES = """
tempovla data stats outputs/demo/dataset
tempovla data stats recordings/robot --recompute
tempovla data stats recordings/robot --recompute --keys action,observation.state
"""

SHOWN = ("mean", "std", "min", "q01", "q99", "max")


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "ROOT [--recompute] [--keys KEY,...] [--json]", EXAMPLES)
    parser.add_argument("root", metavar="ROOT", help="folder that holds meta/, or LIBERO's <task>_demo.hdf5 files")
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="compute them from the rows, exactly; kept in meta/tempovla_stats.json, they go before meta/stats.json",
    )
    parser.add_argument(
        "--keys", metavar="KEY,...", default="", help="streams, with commas between; by default states and actions"
    )
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Show the statistics, and what is wrong with them."""
    keys = [key.strip() for key in args["keys"].split(",") if key.strip()]
    facts = dataset_statistics(args.root, keys, recompute=args.recompute)
    return Outcome(describe(facts), facts)


def describe(facts: dict[str, Any]) -> str:
    """The statistics for people."""
    lines = [f"{facts['root']}: {facts['episodes']} episodes"]
    for key, stream in facts["streams"].items():
        lines += ["", f"{key} ({stream['origin']})"]
        names = [f"{d} {name}".rstrip() for d, name in enumerate(stream["names"])]
        width = max(map(len, names), default=0)
        lines.append("  " + " " * width + "".join(f"{name:>12}" for name in SHOWN))
        columns = [np.ravel(stream["statistics"][name]) if name in stream["statistics"] else None for name in SHOWN]
        for d, name in enumerate(names):
            cells = "".join(f"{'-':>12}" if column is None else f"{column[d]:>12.5g}" for column in columns)
            lines.append(f"  {name:<{width}}{cells}")
    if facts["problems"]:
        lines += ["", "problems:", *(f"  {problem}" for problem in facts["problems"])]
    return "\n".join(lines)
