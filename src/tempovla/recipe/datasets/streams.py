"""The streams that a model reads and imitates, by what it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.streams import StreamSpec


@dataclass(frozen=True)
class Streams:
    """The streams that a model reads and imitates.

    Attributes:
        cameras: keys of the image streams.
        robot_state_dim: dimensions of the state; None where it is not read.
        action_dim: dimensions of an action; None for a video, from which no actions are learned.
        has_gripper: whether the last of these is a binary gripper in {-1, +1}.
        vectors: dimensions of further vectors that are read beside the state, by key, such as those of a force sensor.
        depths: keys of the streams of depth.
        plain: dimensions of vectors that are read in their own units, by key.
        points: numbers of a point, by the key of a stream of points.
    """

    cameras: tuple[str, ...]
    robot_state_dim: int | None
    action_dim: int | None
    has_gripper: bool
    vectors: Mapping[str, int] = field(default_factory=dict)
    depths: tuple[str, ...] = ()
    plain: Mapping[str, int] = field(default_factory=dict)
    points: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any) -> Streams:
        """Return the streams of a model's config, from its method `streams` or from fields with the names above.

        Raises:
            ValueError: if it does not define the dimensions of an action.
        """
        if isinstance(model, Streams):
            return model
        if hasattr(model, "streams"):
            return cls.of_specs(model.streams())
        if not hasattr(model, "action_dim"):
            raise ValueError(
                f"{type(model).__name__} declares no action; give it a method streams() that returns a StreamSpec by "
                "key, or a field action_dim"
            )
        return cls(
            getattr(model, "cameras", ()),
            getattr(model, "robot_state_dim", None),
            model.action_dim,
            getattr(model, "has_gripper", False),
            depths=getattr(model, "depths", ()),
        )

    @classmethod
    def of_specs(cls, specs: Mapping[str, StreamSpec]) -> Streams:
        """Return the streams of a policy's own specifications.

        Raises:
            ValueError: if there is no action, or a vector is of no size.
        """
        vectors = {key: spec for key, spec in specs.items() if spec.kind == "state" and key != STATE_KEY}
        points = {key: spec for key, spec in specs.items() if spec.kind == "points"}
        for key in (STATE_KEY, ACTION_KEY, *vectors, *points):
            if (key == ACTION_KEY or key in specs) and (key not in specs or not specs[key].shape):
                raise ValueError(f"streams() gives no shape of {key!r}; give a StreamSpec with one")
        sizes = {key: specs[key].shape for key in (STATE_KEY, ACTION_KEY) if key in specs}
        state, action = sizes.get(STATE_KEY), sizes[ACTION_KEY]
        assert action is not None
        return cls(
            tuple(key for key, spec in specs.items() if spec.kind == "image"),
            None if state is None else state[0],
            action[0],
            specs[ACTION_KEY].has_gripper,
            {key: spec.shape[0] for key, spec in vectors.items() if spec.shape and spec.normalized},
            tuple(key for key, spec in specs.items() if spec.kind == "depth"),
            {key: spec.shape[0] for key, spec in vectors.items() if spec.shape and not spec.normalized},
            {key: spec.shape[-1] for key, spec in points.items() if spec.shape},
        )


def stream_keys(model: Streams) -> tuple[str, ...]:
    """Return keys of what a model reads and imitates."""
    state = () if model.robot_state_dim is None else (STATE_KEY,)
    actions = () if model.action_dim is None else (ACTION_KEY,)
    return (*state, *model.vectors, *model.plain, *actions, *model.cameras, *model.depths, *model.points)
