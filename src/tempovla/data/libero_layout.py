"""LIBERO's demonstration files: names, contents, and orientation of pictures.

A ``<task>_demo.hdf5`` holds groups ``data/demo_N`` with ``actions`` and ``obs/...``; attributes of ``data`` name the
task and the environment (LIBERO, ``scripts/create_dataset.py``). Pictures are stored as OpenGL draws them, the bottom
row first. Everywhere else in TempoVLA the top row comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, DONE_KEY, IMAGE_KEY_PREFIX, REWARD_KEY

EE_STATE_KEY = "observation.ee_state"
CAMERAS = {IMAGE_KEY_PREFIX + name: name for name in ("agentview_rgb", "eye_in_hand_rgb")}
"""Stream to dataset in ``obs``."""

DEPTHS = {
    DEPTH_KEY_PREFIX + name: name.removesuffix("_rgb") + "_depth" for name in ("agentview_rgb", "eye_in_hand_rgb")
}
"""Stream of distances to dataset in ``obs``; they are read where the dataset says its unit."""

DEPTH_UNIT_ATTRIBUTE = "depth_unit"
"""Ours: unit of a dataset of distances, whole numbers of 16 bits. Files of others hold depth in no known unit."""

CAMERAS_ATTRIBUTE = "tempovla_cameras"
"""Ours: the calibrations of a demonstration's cameras, as JSON."""

JOINTS = ("obs/joint_states", "obs/gripper_states")
"""Datasets of ``observation.state``."""

HAND = ("obs/ee_pos", "obs/ee_ori")
"""Datasets of ``observation.ee_state``, which not all files have."""

OUTCOMES = {REWARD_KEY: "rewards", DONE_KEY: "dones"}
"""Stream to dataset of one number a step, which not all files have."""

WIDTHS = {"actions": LIBERO_PANDA.action_dim, **dict(zip((*JOINTS, *HAND), (7, 2, 3, 3), strict=True))}
"""Numbers a step of each dataset that is read."""

IMAGE_CONVENTION = "opengl"
"""Value of the attribute ``macros_image_convention`` of files whose pictures have the bottom row first."""

LiberoImages = Literal["auto", "bottom_first", "upright", "turned"]
"""How pictures lie in a file: as OpenGL draws them, the bottom row first; as one sees them; or OpenGL's turned by 180
degrees, as OpenVLA shows them to its models, so that left and right are exchanged. `auto` asks the file."""

STORED_AS: Mapping[str, LiberoImages] = {"": "bottom_first", IMAGE_CONVENTION: "bottom_first", "opencv": "upright"}
"""Orientations by value of the attribute ``macros_image_convention``."""

RECORDING_ENTRY = "tempovla"
"""Where in the attribute ``env_args`` our own files say how their pictures were made."""

EE_STATE_NAMES = (*(f"hand_{axis} [m]" for axis in "xyz"), *(f"hand_axis_angle_{axis} [rad]" for axis in "xyz"))

_SUFFIX = re.compile(r"(_demo)?(\.part-\d+)?$")
_SCENE = re.compile(r"^[A-Z][A-Z_]*SCENE\d+_")
_DEMO = re.compile(r"demo_(\d+)")


def demo_path(folder: Path, task: str) -> Path:
    """Return the file with all demonstrations of a task."""
    return folder / f"{task}_demo.hdf5"


def part_path(folder: Path, task: str, demo: int) -> Path:
    """Return the file with a single demonstration, while more are being recorded."""
    return folder / f"{task}_demo.part-{demo:05d}.hdf5"


def task_of(path: Path) -> str:
    """Return the task's part of a file's name."""
    return _SUFFIX.sub("", path.name.removesuffix(".hdf5"))


def instruction_of(path: Path) -> str:
    """Return the instruction in a file's name; the scene that leads LIBERO-90's and LIBERO-10's names is no
    part.
    """
    return _SCENE.sub("", task_of(path)).replace("_", " ")


def task_name(path: Path, bddl_file: str) -> str:
    """Return the benchmark's name of the task in a file, with its scene, independently of the file's name.

    The BDDL file has it, or else the file's own name if a scene leads it; "" where the words are all that is known.
    """
    if bddl_file:
        return PurePosixPath(bddl_file).stem
    return task_of(path) if _SCENE.match(path.name) else ""


def demo_number(name: str) -> int | None:
    """Return N of ``demo_N``, None for any other name."""
    match = _DEMO.fullmatch(name)
    return int(match[1]) if match else None
