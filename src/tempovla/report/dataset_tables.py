"""Text of commands about datasets: contents and statistics."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import numpy as np

from tempovla.timeline.arguments import with_noun

FORMATS = {"v2.1": "LeRobot v2.1", "v3.0": "LeRobot v3.0", "libero-hdf5": "LIBERO's HDF5"}
SHOWN = ("mean", "std", "min", "q01", "q99", "max")


def dataset_lines(facts: dict[str, Any]) -> str:
    """Return the facts for people."""
    robot = f", robot {facts['robot_type']}" if facts["robot_type"] else ""
    lines = [
        f"{facts['root']}: {FORMATS.get(facts['format'], facts['format'])}, {facts['fps']:g} fps{robot}",
        f"{with_noun(facts['episodes'], 'episode')}, {with_noun(facts['frames'], 'frame')}",
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
    if facts.get("cameras"):
        lines += ["", "calibrated cameras:", *(_camera_line(camera, width) for camera in facts["cameras"])]
    lines += ["", "tasks:", *(f"  {task}" for task in facts["tasks"])]
    if facts["recording"]:
        lines += ["", "pictures:", *(f"  {key}: {value}" for key, value in facts["recording"].items())]
    return "\n".join(lines)


def _camera_line(camera: dict[str, Any], width: int) -> str:
    pose = camera["pose"]
    place = "no fixed pose"
    if pose is not None:
        place = f"at {', '.join(f'{row[3]:.3g}' for row in pose[:3])} m in the {camera['frame']}'s frame"
    return f"  {camera['stream']:<{width}}  focal length {camera['fx']:.4g} px of {camera['width']}, {place}"


def statistics_lines(facts: dict[str, Any]) -> str:
    """Return the statistics for people."""
    lines = [f"{facts['root']}: {with_noun(facts['episodes'], 'episode')}"]
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
