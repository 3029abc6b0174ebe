"""`tempovla report`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option, comma_separated
from tempovla.recipe.evaluation.comparison import compare_figures
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.report.page import write_report
from tempovla.report.run import BaselineName

EXAMPLES = """
tempovla report outputs/demo --out report.html
tempovla report outputs/run --out report.html
tempovla report outputs/eval --blind outputs/eval_blind --wrong_instruction outputs/eval_wrong --out report.html
tempovla report outputs/eval --curves outputs/run,outputs/run_blind --title "My arm" --out report.html
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "RUN_DIR --out FILE [options]", EXAMPLES)
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", help="folder of a demo, an evaluation in a simulator, or a training run"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="HTML file to write")
    parser.add_argument("--blind", metavar="PATH", help="evaluation of a blind policy: its folder or results.json")
    parser.add_argument("--wrong_instruction", metavar="PATH", help="the same of this policy told to do another task")
    parser.add_argument(
        "--curves", action="append", default=[], metavar="A,B", help="folders of training runs whose curves to add"
    )
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Write the report."""
    given: dict[BaselineName, str | None] = {"blind": args.blind, "wrong_instruction": args.wrong_instruction}
    path = write_report(
        args.run_dir,
        args.out,
        baselines={name: Path(path) for name, path in given.items() if path is not None},
        curves=[Path(folder) for folders in args.curves for folder in comma_separated(folders)],
        title=args.title,
        compare=compare_figures,
    )
    return Outcome(str(path), {"report": str(path)})
