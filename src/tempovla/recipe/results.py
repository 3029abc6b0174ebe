"""What runs leave for people and for the report: results.json, films, where and with what it was measured."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tempovla import __version__
from tempovla.env.collect import ACTION_KEY
from tempovla.env.embodiment import METAWORLD_SAWYER
from tempovla.env.metaworld import CONTROL_RATE_HZ, IMAGE_KEY_PREFIX, STATE_KEY
from tempovla.report.rerun import write_rrd
from tempovla.report.video import encode_mp4, side_by_side
from tempovla.rollout.metrics import SuccessRate
from tempovla.rollout.runner import EpisodeResult

FILM_STRIDE = 2


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    packages = ("torch", "numpy", "mujoco", "metaworld", "gymnasium", "av", "pyarrow")
    own = {"tempovla": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in packages}


def machine() -> dict[str, str]:
    """Where the figures were measured."""
    cores = str(len(os.sched_getaffinity(0)))
    return {"system": platform.platform(), "architecture": platform.machine(), "cores": cores}


def command() -> str:
    """The command line that is running."""
    return shlex.join(["tempovla", *sys.argv[1:]])


def pool(rates: Sequence[SuccessRate]) -> SuccessRate:
    """All episodes of several tasks together; with equally many of each, the mean of the tasks."""
    return SuccessRate(sum(rate.successes for rate in rates), sum(rate.episodes for rate in rates))


def summarize(policy: SuccessRate, **baselines: SuccessRate) -> dict[str, Any]:
    """The block of one task in results.json: the policy, beside baselines by name (`blind`, `wrong_instruction`)."""
    block: dict[str, Any] = {"success": policy.rate, "episodes": policy.episodes, "ci95": list(policy.interval)}
    for name, rate in baselines.items():
        block |= {name: rate.rate, f"{name}_episodes": rate.episodes, f"{name}_ci95": list(rate.interval)}
    return block


def film(result: EpisodeResult, folder: Path) -> dict[str, Any]:
    """Write the video of a recorded episode and, where the extra `viz` is installed, its rerun recording.

    Returns:
        Its entry in rollouts/index.json.
    """
    assert result.recording is not None
    cameras = [value for key, value in sorted(result.recording.items()) if key.startswith(IMAGE_KEY_PREFIX)]
    outcome = "success" if result.success else "failure"
    name = f"{result.spec.task}_{outcome}_{result.spec.seed}.mp4"
    frames = side_by_side([np.asarray(camera) for camera in cameras])[::FILM_STRIDE]
    encode_mp4(frames, folder / name, CONTROL_RATE_HZ / FILM_STRIDE)
    if find_spec("rerun") is not None:
        names = {STATE_KEY: METAWORLD_SAWYER.state_names, ACTION_KEY: METAWORLD_SAWYER.action_names}
        path = (folder / name).with_suffix(".rrd")
        write_rrd(result.recording, path, CONTROL_RATE_HZ, result.instruction, names)
    return {
        "task": result.spec.task,
        "instruction": result.instruction,
        "success": result.success,
        "seed": result.spec.seed,
        "steps": result.steps,
        "kind": "policy",
        "file": name,
    }
