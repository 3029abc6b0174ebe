"""The moments of recorded scenes from which trajectories are predicted, and what surrounded them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.recipe.evaluation.open_loop.collisions import Footprint, corners_of, touches
from tempovla.recipe.evaluation.open_loop.trajectories import Array, Bools, known_poses, poses_of, relative_to
from tempovla.timeline import Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

_BATCH = 1024

BoxesAt = Callable[[int, int], Array]
"""Rectangles (M, 5) of the other agents in the ego frame of a control step: x, y, heading, length and width."""
DrivableAt = Callable[[int, int, Array], Bools]
"""Which of some points (..., 2) in the ego frame of a control step one can drive on (...,)."""


@dataclass(frozen=True)
class Recorded:
    """N moments, each with the H control steps that followed it.

    Attributes:
        scene: (N,) number of the scene.
        step: (N,) control step within it.
        state: (N, S) status of the car.
        state_valid: (N,) whether that is known.
        words: N texts, what the navigator said.
        steps: (N, H, 3) forward [m], left [m] and turn [rad]; 0 where they are not known.
        valid: (N, H) which are known.
    """

    scene: NDArray[np.int64]
    step: NDArray[np.int64]
    state: Array
    state_valid: Bools
    words: tuple[str, ...]
    steps: Array
    valid: Bools

    @property
    def poses(self) -> Array:
        """(N, H, 3) recorded trajectories in the ego frame of each moment."""
        return poses_of(self.steps)

    @property
    def known(self) -> Bools:
        """(N, H) which of their poses are known."""
        return known_poses(self.valid)

    @property
    def whole(self) -> Bools:
        """(N,) whose trajectories are known to their end."""
        return np.asarray(self.known.all(axis=1))

    def chosen(self, rows: NDArray[np.int64] | Bools) -> Recorded:
        """Return some of the moments."""
        words = tuple(np.array(self.words, dtype=object)[rows])
        return Recorded(
            self.scene[rows],
            self.step[rows],
            self.state[rows],
            self.state_valid[rows],
            words,
            self.steps[rows],
            self.valid[rows],
        )


def read_recorded(mixture: Mixture, horizon: int) -> Recorded:
    """Return every sample of the only source of a mixture, with the `horizon` control steps that follow it."""
    windows = (Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(horizon))))
    parts = []
    for start in range(0, mixture.lengths[0], _BATCH):
        index = np.arange(start, min(start + _BATCH, mixture.lengths[0]))
        sample = collate(mixture, windows, SampleBatch(np.zeros_like(index), index, torch.from_numpy(index)))
        scene, step = mixture.locate(0, index)
        state, action = sample.context.now[STATE_KEY], sample.future[ACTION_KEY]
        valid = action.valid.numpy()
        steps = np.where(valid[..., None], action.value.double().numpy(), 0.0)
        words = tuple(task.instruction for task in sample.context.task)
        status, told = state.value[:, 0].double().numpy(), state.valid[:, 0].numpy()
        parts.append(Recorded(scene, step, status, told, words, steps, valid))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("scene", "step", "state", "state_valid", "steps", "valid")
    }
    return Recorded(words=tuple(word for part in parts for word in part.words), **joined)


def collisions_of(recorded: Recorded, trajectories: Array, boxes_at: BoxesAt, footprint: Footprint) -> Bools:
    """Return when cars on R trajectories of each moment (R, N, H, 3) touch another agent where it then was, (R, N, H).

    The others do what they did in the recording. Poses that are not known touch nobody.
    """
    found = np.zeros(trajectories.shape[:3], bool)
    true, known = recorded.poses, recorded.known
    for row, later in zip(*np.nonzero(known), strict=True):
        boxes = boxes_at(int(recorded.scene[row]), int(recorded.step[row]) + int(later) + 1)
        poses = relative_to(trajectories[:, row, later], true[row, later])
        found[:, row, later] = touches(poses, boxes, footprint)
    return found


def off_road_of(recorded: Recorded, trajectories: Array, drivable_at: DrivableAt, footprint: Footprint) -> Bools:
    """Return when cars on R trajectories of each moment (R, N, H, 3) have a corner off the drivable surface, (R, N, H).

    Poses that are not known are on it.
    """
    found = np.zeros(trajectories.shape[:3], bool)
    known = recorded.known
    corners = corners_of(footprint.rectangles(trajectories))
    for row in np.flatnonzero(known.any(axis=1)):
        inside = drivable_at(int(recorded.scene[row]), int(recorded.step[row]), corners[:, row])
        found[:, row] = ~inside.all(axis=-1) & known[row]
    return found
