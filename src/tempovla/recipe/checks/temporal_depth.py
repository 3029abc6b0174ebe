"""Checks of a dataset's depth, and of the calibrations of the cameras that measured it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tempovla.model.sensor.calibrations import view_cameras
from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal_plan import TemporalPlan
from tempovla.recipe.datasets.fits import depth_problem
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.source import EpisodeSource
from tempovla.timeline.task import Embodiment, Task

ANY_SIZE = (1, 1)
"""Height and width of pictures where only the existence of a calibration matters [px]."""


def check_depth(plan: TemporalPlan, name: str, source: EpisodeSource, findings: Findings) -> bool:
    """Check that a dataset has the depth and the calibrations that the model reads; return whether it has the depth.

    Args:
        plan: what the model asks for.
        name: of the dataset.
        source: the dataset.
        findings: to which the findings are added.
    """
    if not plan.depths:
        return True
    problem = depth_problem(plan.depths, source)
    if not findings.require(f"depth.{name}", problem, f"{with_noun(len(plan.depths), 'stream')} of depth"):
        findings.skip([f"calibration.{name}"], f"the dataset lacks depth, see depth.{name}")
        return False
    problem = calibration_problem(plan, source.embodiment)
    known = "intrinsics and poses" if plan.needs_poses else "intrinsics"
    findings.require(
        f"calibration.{name}", problem, f"the {known} of {with_noun(len(plan.depths), 'stream')} of depth are known"
    )
    return True


def calibration_problem(plan: TemporalPlan, body: Embodiment) -> str | None:
    """Return which calibration of the depth is missing, as a training tells it; None if all are there.

    Args:
        plan: what the model asks for.
        body: the dataset's, which holds the calibrations.
    """
    tasks = [Task("", body)]
    try:
        found = view_cameras(tasks, plan.depths, ANY_SIZE, needs_intrinsics=True, needs_extrinsics=plan.needs_poses)
    except ValueError as problem:
        return str(problem)
    if plan.needs_poses and found.extrinsics is None:
        return (
            f"the poses of {list(plan.depths)} are in several frames, not in a common one; record all of them in one "
            "frame, or set geometry.frame=camera"
        )
    return None


def readings_problem(depths: Sequence[str], source: EpisodeSource, places: Sequence[tuple[int, int]]) -> str | None:
    """Return which stream of depth holds no distances; None if each holds some.

    Args:
        depths: keys of the streams.
        source: the dataset.
        places: episodes and steps that are looked at.
    """
    for key in depths:
        readings = 0
        for episode, step in places:
            metres = source.read(episode, key, [step]).value
            if (metres < 0).any():
                return (
                    f"{source.name}: episode {episode}, step {step}: {key!r} holds {np.nanmin(metres):g} m; record "
                    "distances, and 0 where there is no reading"
                )
            readings += int((np.isfinite(metres) & (metres > 0)).sum())
        if not readings:
            return (
                f"{source.name}: {key!r} holds no reading in {with_noun(len(places), 'frame')}; record the depth "
                "again, or let the model read no depth"
            )
    return None


def readings_told(depths: Sequence[str], places: Sequence[tuple[int, int]]) -> str:
    """Return what was looked at."""
    verb = "holds" if len(places) == 1 else "hold"
    return f"{with_noun(len(places), 'frame')} of {with_noun(len(depths), 'stream')} of depth {verb} distances"
