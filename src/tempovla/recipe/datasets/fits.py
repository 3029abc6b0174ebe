"""Checks that a dataset fits a model: its streams, their shapes and the lengths of its episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tempovla.data.errors import refuse_left_out, unknown_stream
from tempovla.data.stream_keys import check_vectors, missing_streams
from tempovla.data.words import check_words
from tempovla.recipe.datasets.gripper import gripper_problem
from tempovla.recipe.datasets.streams import Streams, stream_keys
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY


def check_fits(config: Any, source: EpisodeSource) -> None:
    """Refuse a dataset whose streams do not fit the model, or whose steps have no instruction.

    Raises:
        ValueError: naming all streams that differ, and the settings with which the model fits; or the step.
    """
    model = Streams.of(config)
    refuse_left_out(source.streams, stream_keys(model), source.name)
    check_words(source)
    found, remedies = [], []
    wanted = {STATE_KEY: ("robot_state_dim", model.robot_state_dim), ACTION_KEY: ("action_dim", model.action_dim)}
    absent = [key for key, (_, size) in wanted.items() if size is not None and key not in source.streams]
    if absent:
        raise ValueError(missing_streams(source, absent))
    check_vectors(source, [key for key, (_, size) in wanted.items() if size is not None])
    for key, (name, size) in wanted.items():
        if size is None:
            continue
        actual = source.streams[key].shape
        if actual != (size,):
            found.append(f"stream {key!r} has shape {actual}")
            own = f"the shape of {key!r} in {type(config).__name__}.streams() to {actual}"
            remedies.append(own if hasattr(config, "streams") else f"model.{name}={actual[0]}")
    for key, size in (*model.vectors.items(), *model.plain.items()):
        check_vector(key, size, source)
    for key, size in model.points.items():
        check_points(key, size, source)
    check_depths(model, source)
    cameras = sorted(key for key, stream in source.streams.items() if stream.kind == "image")
    missing = [camera for camera in model.cameras if camera not in cameras]
    if missing:
        found.append(f"has no camera {missing[0]!r}")
        remedies.append(f"model.cameras to some of {cameras}" if cameras else _without_cameras(config))
    problem = gripper_problem(source) if model.has_gripper else None
    if problem is not None:
        found.append(problem)
        remedies.append("model.has_gripper=false")
    if found:
        raise ValueError(f"{source.name}: {', '.join(found)}; set {' and '.join(remedies)}")


def check_vector(key: str, size: int, source: EpisodeSource) -> None:
    """Refuse a dataset that lacks a vector which is read beside the state, or has it in another size.

    Raises:
        ValueError: naming the stream.
    """
    if key not in source.streams:
        raise unknown_stream(key, source.streams, source.name)
    actual = source.streams[key].shape
    if actual != (size,):
        raise ValueError(
            f"{source.name}: stream {key!r} has shape {actual}, but the model reads {(size,)}; set its shape in "
            "streams() to the dataset's"
        )


def check_points(key: str, size: int, source: EpisodeSource) -> None:
    """Refuse a dataset that lacks a stream of points, or has other numbers of each point.

    Raises:
        ValueError: naming the stream.
    """
    if key not in source.streams:
        raise unknown_stream(key, source.streams, source.name)
    stream = source.streams[key]
    if stream.kind != "points" or stream.shape[-1:] != (size,):
        raise ValueError(
            f"{source.name}: stream {key!r} is of kind {stream.kind!r} and shape {stream.shape}, but the model reads "
            f"points of {size} numbers; leave the sensor out of the model, or record it as points"
        )


def check_depths(model: Streams, source: EpisodeSource) -> None:
    """Refuse a dataset that lacks a stream of depth which the model reads.

    Raises:
        ValueError: naming the stream and those that there are.
    """
    problem = depth_problem(model.depths, source)
    if problem is not None:
        raise ValueError(problem)


def depth_problem(depths: Sequence[str], source: EpisodeSource) -> str | None:
    """Return which of some streams of depth a dataset lacks, with the remedy; None if it has them all."""
    known = sorted(key for key, stream in source.streams.items() if stream.kind == "depth")
    missing = [key for key in depths if key not in known]
    if not missing:
        return None
    told = f"{source.name}: has no depth {missing[0]!r}, which the model reads"
    if not known:
        return f"{told}; record it, such as with --depth true, or let the model read no depth"
    return f"{told}, but that of {known}; record it, too, or let the model read only depth that there is"


def check_lengths(source: EpisodeSource, windows: Sequence[Window], remedy: str) -> None:
    """Refuse an episode that is too short for any whole window.

    Args:
        source: the dataset, as it will be trained on.
        windows: what the policy reads.
        remedy: the settings that make the windows shorter.

    Raises:
        ValueError: naming the file, the episode, both lengths and the remedy.
    """
    offsets = [offset for window in windows for offset in window.offsets]
    needed = max(offsets) - min(offsets) + 1
    for index in range(len(source)):
        info = source.episode(index)
        if info.length < needed:
            raise ValueError(
                f"{info.origin or f'{source.name}: episode {index}'} has {info.length} steps, but a window needs "
                f"{needed}; remove the episode, or lower {remedy} (data.max_len_data may have cut it)"
            )


def _without_cameras(config: Any) -> str:
    """The setting of a model that reads no pictures."""
    sensors = getattr(config, "sensors", None)
    if sensors is None:
        return "--model.cameras '[]', as it has none"
    return f"--model.sensors '[{', '.join(name for name in sensors if name != 'cameras')}]', as it has none"
