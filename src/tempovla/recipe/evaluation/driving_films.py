"""Videos of a car's episodes: its cameras beside a view from above, with the route and what the policy planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Actor
from tempovla.env.protocol import SimulatorConfig
from tempovla.env.snapshot import Snapshot
from tempovla.recipe.evaluation.open_loop.driving import drives
from tempovla.recipe.evaluation.open_loop.trajectories import poses_of, relative_to
from tempovla.report.bird_view import BAND_PX, BirdView, Frame
from tempovla.report.video import enlarged
from tempovla.rollout.runner import EpisodeResult
from tempovla.rollout.survey import survey
from tempovla.timeline.driving import CAMERA_KEYS, LIDAR_KEY
from tempovla.timeline.keys import ACTION_KEY, IMAGE_KEY_PREFIX, is_outcome

LAYOUT = (("front_left", "front", "front_right"), ("back_left", "back", "back_right"))
"""Rows of cameras; those to the back look as if one turned round to the left and to the right."""
LEAST_PX = 112
"""Height of the pictures of a camera, to which smaller ones are enlarged."""
GAP_PX = 4
AHEAD_M, BEHIND_M = 34.0, 10.0
"""How far the view from above reaches."""
QUALITY = 30
"""x264's constant rate factor of these large pictures."""
FASTER = 2.0
"""How much faster than the episode a video plays."""

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class DrivenEpisode:
    """What a video of an episode of T control steps shows beside its recording.

    Attributes:
        plans: (T, H, 3) poses that the policy planned at its latest decision, each in the ego frame of that decision.
        decided: (T,) the control step of the latest decision.
        snapshots: what was around the car at each step; None if the simulator does not tell.
    """

    plans: NDArray[np.float64]
    decided: NDArray[np.int64]
    snapshots: Sequence[Snapshot] | None


class DrivingViewer:
    """Finds out what a policy planned in an episode, and what was around the car.

    Args:
        actor: the policy.
        env_config: the simulator.
        execution_horizon: control steps from one decision to the next.
    """

    def __init__(self, actor: Actor, env_config: SimulatorConfig, execution_horizon: int) -> None:
        self._actor, self._env_config, self._stride = actor, env_config, execution_horizon

    def view(self, result: EpisodeResult) -> DrivenEpisode:
        """Let the policy decide again on what it saw in an episode that has its recording.

        Raises:
            WorkerDiedError: if the simulator crashed.
        """
        plans, decided = plans_of(self._actor, result, self._stride)
        return DrivenEpisode(plans, decided, survey(result, self._env_config))


def viewer_of(actor: Actor, env_config: SimulatorConfig, execution_horizon: int) -> DrivingViewer | None:
    """Return a viewer of a policy that drives a car; None of any other.

    Args:
        actor: the policy.
        env_config: the simulator.
        execution_horizon: control steps from one decision to the next.
    """
    return DrivingViewer(actor, env_config, execution_horizon) if drives(actor.embodiment) else None


def plans_of(actor: Actor, result: EpisodeResult, stride: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what a policy planned at its latest decision before each of T control steps, and when it decided.

    It gets the noise that it had in the episode, and the actions that were done, so that it decides as it did.

    Args:
        actor: the policy.
        result: an episode with its recording.
        stride: control steps from one decision to the next.

    Returns:
        Poses (T, H, 3) in the ego frame of the decision, and its control step (T,).
    """
    recording = result.recording
    assert recording is not None
    seen = {key: values for key, values in recording.items() if key != ACTION_KEY and not is_outcome(key)}
    done = recording[ACTION_KEY]
    told = result.instructions or (result.instruction,) * len(done)
    builder = ContextBuilder(actor.windows, actor.embodiment, 1)
    builder.reset(0, told[0], {key: values[0] for key, values in seen.items()}, result.cameras)
    state = actor.with_seeds(actor.initial_state(1), [result.spec.seed])
    plans = []
    for step in range(len(done)):
        if step > 0:
            builder.add(0, done[step - 1 : step], {key: values[step] for key, values in seen.items()})
            builder.instruct(0, told[step])
        if step % stride == 0:
            chunk, state = actor.act(builder.context(), state)
            plans.append(poses_of(chunk.value[0].double().cpu().numpy()))
    decided = np.arange(len(done)) // stride
    return np.stack(plans)[decided], decided * stride


def driving_frames(result: EpisodeResult, driven: DrivenEpisode) -> Pictures:
    """Return the frames (T, H, W, 3) of a video: the cameras, and beside them the view from above.

    Args:
        result: an episode with its recording.
        driven: what was planned in it, and what was around.
    """
    recording = result.recording
    assert recording is not None
    cameras = camera_grid({key: np.asarray(recording[key]) for key in CAMERA_KEYS if key in recording})
    height = 2 * LEAST_PX if cameras is None else cameras.shape[1]
    view = BirdView(height - BAND_PX, round(0.8 * height), AHEAD_M, BEHIND_M)
    points = recording.get(LIDAR_KEY)
    told = result.instructions or (result.instruction,) * len(driven.plans)
    above = np.stack(
        [
            view.draw(_frame(driven, step, told[step], None if points is None else points[step]))
            for step in range(len(driven.plans))
        ]
    )
    if cameras is None:
        return above
    gap = np.zeros((len(above), height, GAP_PX, 3), np.uint8)
    return np.concatenate([cameras, gap, above], axis=2)


def camera_grid(pictures: Mapping[str, Pictures]) -> Pictures | None:
    """Return the pictures (T, H, W, 3) of the cameras around a car as one (T, H', W', 3); None if there are none.

    Those of a camera that is missing are black; rows without any camera are left out.

    Args:
        pictures: by stream, all of one shape.

    Raises:
        ValueError: if they are of several shapes.
    """
    if not pictures:
        return None
    shapes = {value.shape for value in pictures.values()}
    if len(shapes) > 1:
        raise ValueError(f"cameras have shapes {sorted(shapes)}; a video shows pictures of one shape")
    scale = -(-LEAST_PX // next(iter(shapes))[1])
    large = {key: enlarged(value, scale) if scale > 1 else value for key, value in pictures.items()}
    black = np.zeros_like(next(iter(large.values())))
    rows = []
    for names in LAYOUT:
        row = [large.get(IMAGE_KEY_PREFIX + name, black) for name in names]
        if any(IMAGE_KEY_PREFIX + name in large for name in names):
            rows.append(np.concatenate([_edged(picture) for picture in row], axis=2))
    return np.concatenate(rows, axis=1)


def _edged(pictures: Pictures) -> Pictures:
    """With a dark line at the right and at the bottom."""
    edged = pictures.copy()
    edged[:, -1:], edged[:, :, -1:] = 0, 0
    return edged


def _frame(driven: DrivenEpisode, step: int, words: str, points: NDArray | None) -> Frame:
    """A moment in the ego frame of that moment."""
    snapshots = driven.snapshots
    if snapshots is None:
        known = driven.plans[step] if driven.decided[step] == step else np.zeros((0, 3))
        return Frame(points=points, paths=[("predicted", known[:, :2])], words=words)
    now, pose = snapshots[step], snapshots[step].pose
    decided = snapshots[int(driven.decided[step])].pose
    planned = relative_to(_moved(driven.plans[step], decided), pose)
    last = min(step + planned.shape[0], len(snapshots) - 1)
    driven_path = np.stack([relative_to(snapshots[later].pose, pose) for later in range(step, last + 1)])
    return Frame(
        points=points,
        boxes=_rectangles(now.boxes, pose),
        ego=_rectangles(now.ego[None], pose)[0],
        lanes=[_places(lane, pose) for lane in now.lanes],
        route=_places(now.route, pose),
        lights=[(*_places(np.array([[x, y]]), pose)[0].tolist(), state) for x, y, state in now.lights],
        paths=[("true", driven_path[:, :2]), ("predicted", planned[:, :2])],
        words=words,
    )


def _moved(poses: NDArray, origin: NDArray) -> NDArray:
    """Poses (H, 3) given in the frame of `origin` (3,) in that in which `origin` is given."""
    return np.stack([poses_of(np.stack([origin, pose]))[1] for pose in poses])


def _places(places: NDArray, pose: NDArray) -> NDArray:
    """Places (L, 2) of the map in the ego frame."""
    flat = np.concatenate([places[:, :2], np.zeros((len(places), 1))], axis=1)
    return relative_to(flat, pose)[:, :2]


def _rectangles(boxes: NDArray, pose: NDArray) -> NDArray:
    """Rectangles (M, 5) of the map in the ego frame."""
    return np.concatenate([relative_to(boxes[:, :3], pose), boxes[:, 3:]], axis=1)
