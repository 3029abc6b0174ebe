"""`tempovla convert weights`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option
from tempovla.model.vlm.convert_weights import convert_weights
from tempovla.recipe.settings.parser import ArgumentParser, build_parser

EXAMPLES = """
tempovla convert weights models/my-language-model
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "FOLDER [--json]", EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", help="a transformers model, with pytorch_model.bin or its parts")
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Convert the weights."""
    written = [str(path) for path in convert_weights(args.folder)]
    return Outcome(f"{args.folder}: wrote {', '.join(path.rsplit('/', 1)[-1] for path in written)}", {"files": written})
