"""`tempovla demo`."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option, add_out, comma_separated, config_from_args
from tempovla.recipe.demo import Demo, DemoConfig
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.report.tables import success_table
from tempovla.training.interrupt import TrainingInterrupted

EXAMPLES = """
tempovla demo
tempovla demo --out outputs/seed7 --seed 7
tempovla demo --out outputs/quick --demonstrations 5 --phase1_steps 50 --phase2_steps 100 --evaluation_episodes 4
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "[--out DIR] [--seed N] [options]", EXAMPLES)
    add_out(parser, "folder; a stopped demo goes on in it", default="outputs/demo")
    tasks = ",".join(DemoConfig().tasks)
    parser.add_argument("--tasks", default=tasks, metavar="A,B", help="Meta-World tasks")
    parser.add_class_arguments(DemoConfig, skip={"tasks"})
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Run the demo, or its remaining stages."""
    demo = Demo(config_from_args(DemoConfig, args, tasks=tuple(comma_separated(args.tasks))), args.out)
    try:
        report = demo.run()
    except (KeyboardInterrupt, TrainingInterrupted):
        raise KeyboardInterrupt("the same command goes on from here") from None
    results = json.loads((Path(args.out) / "results.json").read_text(encoding="utf-8"))
    return Outcome("\n".join([*success_table(results), f"report: {report}"]), results)
