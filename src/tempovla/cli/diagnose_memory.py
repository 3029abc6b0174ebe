"""`tempovla diagnose memory`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_device, add_json_option, add_out, config_from_args
from tempovla.recipe.diagnosis.memory import DiagnosisConfig, diagnose_memory
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.report.diagnosis import write_diagnosis
from tempovla.report.tables import diagnosis_table
from tempovla.storage.json_files import write_json

EXAMPLES = """
tempovla diagnose memory --checkpoint CKPT --dataset outputs/memory
tempovla diagnose memory --checkpoint CKPT --dataset outputs/memory --episodes 80 --out outputs/diagnosis
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(name, summary, "--checkpoint DIR --dataset DIR [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="checkpoint folder of a training run")
    parser.add_argument("--dataset", required=True, metavar="DIR", help="demonstrations to step the policy through")
    add_device(parser)
    add_json_option(parser)
    add_out(parser, "folder for all figures, diagnosis.json, and a page, diagnosis.html")
    parser.add_class_arguments(DiagnosisConfig)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Diagnose the checkpoint."""
    config = config_from_args(DiagnosisConfig, args)
    found = diagnose_memory(args.checkpoint, args.dataset, config, device=args.device)
    lines = diagnosis_table(found)
    if args.out is not None:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "diagnosis.json", found)
        lines.append(f"report: {write_diagnosis(found, folder / 'diagnosis.html')}")
    return Outcome("\n".join(lines), found)
