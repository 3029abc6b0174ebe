"""`tempovla report`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, build_parser
from tempovla.report.page import write_report

EXAMPLES = """
tempovla report outputs/demo --out report.html
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "RUN_DIR --out FILE", EXAMPLES)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="folder that `tempovla demo` or `tempovla eval` wrote")
    parser.add_argument("--out", required=True, metavar="FILE", help="HTML file to write")
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Write the report."""
    path = write_report(args.run_dir, args.out)
    return Outcome(str(path), {"report": str(path)})
