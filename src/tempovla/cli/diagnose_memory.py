"""`tempovla diagnose memory`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, build_parser, config_from_args
from tempovla.recipe.diagnosis.memory import DiagnosisConfig, diagnose_memory
from tempovla.report.diagnosis import condition_names, write_diagnosis
from tempovla.report.format_text import change_of
from tempovla.storage.json_files import write_json

EXAMPLES = """
tempovla diagnose memory --checkpoint CKPT --dataset outputs/memory
tempovla diagnose memory --checkpoint CKPT --dataset outputs/memory --episodes 80 --output-dir outputs/diagnosis
"""
NARROW = 48
"""Characters of an instruction in the table."""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--checkpoint DIR --dataset DIR [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="what training saved")
    parser.add_argument("--dataset", required=True, metavar="DIR", help="demonstrations to step it through")
    parser.add_argument("--json", metavar="FILE", help="where to write all figures")
    parser.add_argument(
        "--output-dir", metavar="DIR", help="folder for all figures, diagnosis.json, and a page, diagnosis.html"
    )
    parser.add_class_arguments(DiagnosisConfig)
    return parser


def run(args: Namespace) -> Outcome:
    """Diagnose the checkpoint."""
    found = diagnose_memory(args.checkpoint, args.dataset, config_from_args(DiagnosisConfig, args))
    folder = None if args.output_dir is None else Path(args.output_dir)
    files = [] if args.json is None else [Path(args.json)]
    files += [] if folder is None else [folder / "diagnosis.json"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, found)
    lines = table(found)
    if folder is not None:
        lines.append(f"report: {write_diagnosis(found, folder / 'diagnosis.html')}")
    return Outcome("\n".join(lines), found)


def table(found: Mapping[str, Any]) -> list[str]:
    """All that matters on one screen."""
    dataset, conditions = found["dataset"], found["conditions"]
    known = "" if dataset["held_out"] is None else f" ({dataset['held_out']} held out in training)"
    lines = [
        f"{found['decisions']} decisions of {len(dataset['episodes'])} episodes{known}, one every {found['stride']} "
        "control steps",
        "mean absolute error of what is executed, normalised",
    ]
    full = conditions["full"]["error"]
    rows = [(condition_names(found)[name], block) for name, block in conditions.items()]
    if found["context"]:
        rows += [(_seen(block["frames"], found["longest"]), block) for block in found["lengths"]]
    rows.append(("the mean action", found["mean_action"]))
    width = max(len(name) for name, _ in rows)
    against = "     against full context [95%]" if found["context"] else ""
    lines.append(f"{'':<{width}}   error  [95% interval]{against}")
    lines += [_row(name, width, block, full) for name, block in rows]
    if not found["context"]:
        lines.append("a policy without a context: one frame is all it sees, so no length is swept")
    if len(found["tasks"]) > 1:
        lines += ["", *_tasks(found["tasks"])]
    lines += ["", _copycat(found["copycat"]), *found["verdict"]]
    return lines


def _seen(frames: int, longest: int) -> str:
    return "all frames" if frames == longest else f"last {frames} frame{'s' * (frames > 1)}"


def _row(name: str, width: int, block: Mapping[str, Any], full: float) -> str:
    low, high = block["ci95"]
    line = f"{name:<{width}}  {block['error']:.4f}  [{low:.4f}, {high:.4f}]"
    return line if "difference" not in block else f"{line}  {change_of(block, full)}"


def _tasks(tasks: Mapping[str, Any]) -> list[str]:
    names = list(next(iter(tasks.values()))["conditions"])
    shown = [task if len(task) <= NARROW else f"{task[: NARROW - 3]}..." for task in tasks]
    width = max(map(len, shown))
    lines = [f"{'error by instruction':<{width}}  {'  '.join(f'{name:>8}' for name in names)}  episodes"]
    for task, block in zip(shown, tasks.values(), strict=True):
        errors = "  ".join(f"{block['conditions'][name]['error']:>8.4f}" for name in names)
        lines.append(f"{task:<{width}}  {errors}  {block['episodes']:>8}")
    return lines


def _copycat(block: Mapping[str, Any]) -> str:
    parts = []
    for name, words in (("expert_r2", "expert"), ("policy_r2", "policy"), ("excess", "excess")):
        value, interval = block[name]["value"], block[name]["ci95"]
        told = "unknown" if value is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
        parts.append(f"{words} {told}")
    return f"R^2 of the next action told by the last alone: {', '.join(parts)}"
