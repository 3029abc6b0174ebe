"""Judge a policy's trajectories beside those that need no sensors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tempovla.recipe.evaluation.open_loop.baselines import PHYSICAL, fit_and_predict, folds_of, with_commands
from tempovla.recipe.evaluation.open_loop.collisions import Footprint
from tempovla.recipe.evaluation.open_loop.figures import Judged, Modes, figures_of
from tempovla.recipe.evaluation.open_loop.recorded import (
    BoxesAt,
    DrivableAt,
    Recorded,
    collisions_of,
    off_road_of,
)
from tempovla.recipe.evaluation.open_loop.trajectories import Array, Bools, poses_of
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.driving import COMMANDS

LOGGER = logging.getLogger(__name__)

RECORDED = "recorded"
"""Name of the row of the recorded trajectory itself."""
POLICY = "policy"
FOLDS = 5
"""Parts of the scenes of which each is predicted by a status MLP that learned from the others, where no training scenes
are kept apart."""


@dataclass(frozen=True)
class Around:
    """What surrounded the car in the recordings.

    Attributes:
        boxes_at: the other agents; None where the dataset does not know them.
        drivable_at: the drivable surface; None where the dataset does not know it.
        footprint: of the car.
    """

    boxes_at: BoxesAt | None = None
    drivable_at: DrivableAt | None = None
    footprint: Footprint = field(default_factory=Footprint)


def measure_trajectories(
    recorded: Recorded,
    steps: Array,
    rate_hz: float,
    *,
    around: Around | None = None,
    training: Recorded | None = None,
    modes: Modes | None = None,
) -> dict[str, Any]:
    """Return the open-loop figures of a policy behind those of baselines; see `figures_of`.

    Args:
        recorded: N moments with the H control steps that followed.
        steps: (N, H, 3) what the policy would have done: forward [m], left [m] and turn [rad].
        rate_hz: control rate [Hz].
        around: what surrounded the car; None if nothing is known of it.
        training: moments of other scenes for the status MLPs to learn from; without it, each part of the scenes is
            predicted by one that learned from the other parts, and there are no such rows of a single scene.
        modes: further trajectories of the policy.

    Moments at which the status of the car is not known are left out, as the baselines cannot be judged there.

    Raises:
        ValueError: if the status of the car is known at no moment, or the policy's steps are not finite or of another
            shape.
    """
    if steps.shape != recorded.steps.shape or not np.isfinite(steps).all():
        raise ValueError(f"steps {steps.shape} must be finite and of the shape {recorded.steps.shape}")
    around = Around() if around is None else around
    known = recorded.state_valid
    if not known.any():
        raise ValueError(
            f"the car's status is not known at any of {with_noun(len(known), 'moment')}; give scenes that recorded it"
        )
    if not known.all():
        LOGGER.warning(
            "the car's status is not known at %d of %d moments, which are left out", (~known).sum(), len(known)
        )
        recorded, steps = recorded.chosen(known), steps[known]
        modes = None if modes is None else Modes(modes.poses[known], modes.probability[known])
    told = {RECORDED: recorded.poses} | baseline_trajectories(recorded, rate_hz, training) | {POLICY: poses_of(steps)}
    learned = [name for name in told if name != RECORDED and name not in PHYSICAL]
    everything = np.stack(list(told.values()))
    hits = off = None
    if around.boxes_at is not None:
        hits = collisions_of(recorded, everything, around.boxes_at, around.footprint)
    if around.drivable_at is not None:
        off = off_road_of(recorded, everything, around.drivable_at, around.footprint)
    rows = {
        name: Judged(
            poses,
            _row(hits, index),
            _row(off, index),
            learned=name in learned,
            modes=modes if name == POLICY else None,
        )
        for index, (name, poses) in enumerate(told.items())
    }
    return figures_of(rows, recorded, rate_hz)


def _row(found: Bools | None, index: int) -> Bools | None:
    return None if found is None else found[index]


def baseline_trajectories(recorded: Recorded, rate_hz: float, training: Recorded | None) -> dict[str, Array]:
    """Return the trajectories (N, H, 3) of all baselines, by name; those for which nothing is learned come first.

    Args:
        recorded: N moments, at all of which the status of the car is known.
        rate_hz: control rate [Hz].
        training: see `measure_trajectories`.
    """
    horizon = recorded.steps.shape[1]
    told = {name: predict(recorded.state, horizon, rate_hz) for name, predict in PHYSICAL.items()}
    if training is None and len(np.unique(recorded.scene)) < 2:
        return told
    words = [*COMMANDS.values()]
    told["ego status MLP"] = _learned(recorded, training, lambda part: part.state)
    if any(said in words for said in recorded.words):
        told["ego status and command MLP"] = _learned(
            recorded, training, lambda part: with_commands(part.state, part.words, words)
        )
    return told


def _learned(recorded: Recorded, training: Recorded | None, inputs: Callable[[Recorded], Array]) -> Array:
    """The trajectories (N, H, 3) by a status MLP that has seen other scenes alone."""
    if training is not None:
        training = training.chosen(training.state_valid)
        return fit_and_predict(inputs(training), training.poses, training.known, inputs(recorded))
    fold = folds_of(recorded.scene, FOLDS)
    told = np.zeros_like(recorded.steps)
    for part in np.unique(fold):
        own, others = recorded.chosen(fold == part), recorded.chosen(fold != part)
        told[fold == part] = fit_and_predict(inputs(others), others.poses, others.known, inputs(own))
    return told
