"""`tempovla data inspect`."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import (
    Outcome,
    add_depth_unit,
    add_json_flag,
    add_key_flags,
    add_libero_images,
    build_parser,
    stream_keys,
)
from tempovla.data.inspection import inspect

EXAMPLES = """
tempovla data inspect outputs/demo/dataset
tempovla data inspect outputs/demo/dataset --json
tempovla data inspect libero/libero_object
tempovla data inspect ROOT --state_key state --action_key 'actions[0:6],gripper'
"""


FORMATS = {"v2.1": "LeRobot v2.1", "v3.0": "LeRobot v3.0", "libero-hdf5": "LIBERO's HDF5"}


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "ROOT [--depth-unit UNIT] [--json]", EXAMPLES)
    parser.add_argument("root", metavar="ROOT", help="folder that holds meta/, or LIBERO's <task>_demo.hdf5 files")
    add_depth_unit(parser)
    add_libero_images(parser)
    add_key_flags(parser)
    parser.add_argument(
        "--default_instruction", default="", metavar="WORDS", help="what steps are told that the dataset tells nothing"
    )
    add_json_flag(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Look into a dataset."""
    facts = inspect(
        args.root,
        stream_keys(args),
        depth_unit=args.depth_unit,
        libero_images=args.libero_images,
        default_instruction=args.default_instruction,
    )
    return Outcome(describe(facts), facts)


def describe(facts: dict[str, Any]) -> str:
    """The facts for people."""
    robot = f", robot {facts['robot_type']}" if facts["robot_type"] else ""
    lines = [
        f"{facts['root']}: {FORMATS.get(facts['format'], facts['format'])}, {facts['fps']:g} fps{robot}",
        f"{facts['episodes']} episodes, {facts['frames']} frames",
        "",
        "features:",
    ]
    width = max(map(len, facts["features"]))
    for key, feature in facts["features"].items():
        shape = "x".join(map(str, feature["shape"]))
        names = shorten(", ".join(feature["names"]), width=60, placeholder=" ...")
        lines.append(f"  {key:<{width}}  {feature['dtype']:<8} {feature['kind']:<7} {shape:<12} {names}".rstrip())
        lines += [f"    warning: {warning}" for warning in feature["warnings"]]
    if facts["left_out"]:
        lines += ["", "left out:", *(f"  {key}: {reason}" for key, reason in facts["left_out"].items())]
    lines += [f"hint: {hint}" for hint in facts["hints"]]
    lines += ["", "tasks:", *(f"  {task}" for task in facts["tasks"])]
    if facts["recording"]:
        lines += ["", "pictures:", *(f"  {key}: {value}" for key, value in facts["recording"].items())]
    return "\n".join(lines)
